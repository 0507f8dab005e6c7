#include "launcher/run_metrics.h"

#include <ATen/Context.h>
#include <fmt/format.h>

#include "distributed/mpi_communicator.h"
#include "launcher/build_facts.h"
#include "launcher/device.h"
#include "launcher/host_facts.h"
#include "launcher/plan_choice.h"

namespace reprise {

void describe_rank(RunStart& start, Config config, const Communicator& communicator, const FlatModel& flat,
                   const Trainer& trainer) {
  start.parameter_bytes = flat.parameters.nbytes() + (flat.computed.defined() ? flat.computed.nbytes() : 0);
  start.gradient_bytes = flat.gradients.nbytes();
  for (const FlatState& state : trainer.states()) {
    if (state.name != "parameters") start.optimizer_bytes += state.flat.nbytes();
  }
  const std::string* budget = budget_of(config);
  start.budget_bytes =
      static_cast<uint64_t>(budget_bytes(config, budget ? *budget : "100%", communicator.local_size()));
  const torch::Device device = flat.parameters.device();
  const std::string mpi = mpi_library_version();
  const NcclFacts nccl = nccl_facts();
  start.build = {{"version", kVersion},
                 {"commit", kCommit},
                 {"libtorch", kLibTorch},
                 {"cuda", ""},
                 {"nccl", nccl.is_in_build ? nccl_version_text(nccl.library_version) : ""},
                 {"mpi", mpi.substr(0, mpi.find_first_of(",\n"))}};
  start.place = {{"host", read_host_facts().host},
                 {"local_rank", std::to_string(communicator.local_rank())},
                 {"device", device.str()},
                 {"uuid", ""}};
  if (device.is_cpu()) return;
  const DeviceFacts facts = describe_device(device.index());
  start.peak_flop_per_second = dense_peak(facts.name, config.precision.compute);
  const std::string_view id = facts.uuid;
  start.place["uuid"] = fmt::format("GPU-{}-{}-{}-{}-{}", id.substr(0, 8), id.substr(8, 4), id.substr(12, 4),
                                    id.substr(16, 4), id.substr(20));  // as NVIDIA's tools write it
  const long cuda = at::globalContext().versionCUDART();
  start.build["cuda"] = fmt::format("{}.{}", cuda / 1000, cuda % 1000 / 10);
}

}  // namespace reprise
