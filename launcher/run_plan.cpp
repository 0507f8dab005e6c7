#include "launcher/run_plan.h"

#include <ATen/Context.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "checkpointing/memory_meter.h"
#include "distributed/agreement.h"
#include "distributed/mpi_communicator.h"
#include "launcher/build_facts.h"
#include "launcher/device.h"
#include "launcher/exit_codes.h"
#include "launcher/host_facts.h"
#include "launcher/job.h"
#include "launcher/measured_costs.h"
#include "launcher/plan_choice.h"
#include "monitoring/format.h"

namespace reprise {
namespace {

// The smallest of the ranks' budgets, in bytes.
void agree_on_budget(Config& config, Communicator& communicator) {
  std::string* budget = budget_of(config);
  if (budget == nullptr) return;
  std::string own;
  together(communicator, [&] { own = std::to_string(budget_bytes(config, *budget, communicator.local_size())); });
  const std::vector<std::string> budgets = gather_texts(communicator, own);
  *budget = *std::ranges::min_element(budgets, {}, [](const std::string& bytes) { return std::stoll(bytes); });
}

}  // namespace

JointChoice choose_together(Config& config, Communicator& communicator, const DeviceChoice& device,
                            const StageChain& model) {
  agree_on_budget(config, communicator);
  const FlatLayout layout = layout_of(model);
  std::optional<WireModel> wire;
  if (communicator.size() > 1) wire = fit_wire(communicator, device.device);
  const double seconds = config.micro_sequences == kAuto ? 2 : 4;  // several micro-batches to measure, or one
  const auto measure = [&](const Config& candidate) {              // on every rank; the slowest one counts
    CostTable costs;
    const double limit = communicator.pulse().standing().limit_seconds;
    communicator.pulse().set_limit(Pulse::kLastResort * limit);  // nobody moves meanwhile, for long with a large model
    together(communicator, [&] {
      costs = cached_costs(candidate, device, communicator.size(), seconds, [&] {
        if (communicator.rank() != 0) return;
        fmt::print("measuring the stages on this machine, {} sequences at once: about {:.0f} s, once\n",
                   candidate.micro_sequences, seconds);
        std::fflush(stdout);
      });
    });
    communicator.pulse().set_limit(limit);
    take_worst(communicator, costs);
    costs.wire = wire;
    return costs;
  };
  try {
    return choose_jointly(config, communicator.size(), communicator.local_size(), &layout, measure);
  } catch (const NothingFits& failure) {
    throw SharedFailure(kDoesNotFit, failure.what());
  } catch (const InvalidSetting& error) {
    throw SharedFailure(kConfiguration, at_setting(config, error).what());
  }
}

std::string explain_memory(const JointChoice& choice, const std::string& rank, int64_t step,
                           const std::string& reason) {
  const uint64_t held = MemoryMeter::peak_bytes();
  std::string sentence = fmt::format(
      "{} ran out of memory in step {} with {} in tensors, {} planned, under plan {} ({})", rank, step,
      format_bytes(held), format_bytes(choice.planned.predicted.peak_bytes), strip_of(choice.planned.plan), reason);
  const auto budget = static_cast<int64_t>(held - held / 10);  // did fit, with room for what lies between tensors
  try {
    const PlannedStep fitting = fastest_plan(choice.costs, budget);
    sentence += fmt::format("; checkpointing.policy: budget with checkpointing.budget: {} plans {}, a peak of {}",
                            budget, strip_of(fitting.plan), format_bytes(fitting.predicted.peak_bytes));
  } catch (const DoesNotFit& failure) {
    sentence += "; " + what_would_fit(failure, choice.costs, budget);
  }
  return sentence;
}

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
  const NcclFacts nccl = nccl_facts();
  start.build = {{"version", kVersion},
                 {"commit", kCommit},
                 {"libtorch", kLibTorch},
                 {"cuda", ""},
                 {"nccl", nccl.is_in_build ? nccl_version_text(nccl.library_version) : ""},
                 {"mpi", mpi_library_version()}};
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
