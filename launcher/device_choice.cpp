#include "launcher/device_choice.h"

#include <fmt/format.h>
#include <torch/utils.h>

#include <cstdio>

#include "checkpointing/memory_meter.h"
#include "distributed/agreement.h"
#include "distributed/mpi_communicator.h"
#include "distributed/nccl_communicator.h"
#include "distributed/ring_communicator.h"
#include "distributed/staged_communicator.h"
#include "launcher/device.h"
#include "launcher/exit_codes.h"
#include "launcher/host_facts.h"
#include "launcher/job.h"
#include "launcher/spelling.h"

namespace reprise {

namespace {

// Resolves the settings that depend on the devices which this process sees.
void resolve(Config& config, int visible) {
  std::string &device = config.run.device, &backend = config.distributed.backend;
  if (device == "cuda" && visible == 0) {
    throw wrong_value("run.device", "cpu, for no CUDA device is visible here", "cuda", "cpu");
  }
  if (device == "auto") device = visible > 0 ? "cuda" : "cpu";
  const std::string& compute = config.precision.compute;
  if (device == "cpu" && (compute == "fp16" || compute == "tf32")) {
    throw wrong_value("precision.compute", "fp32 or bf16 on the CPU", compute, "bf16");
  }
  if (backend == "auto") backend = device == "cuda" && !config.distributed.share_device ? "nccl" : "mpi";
  if (backend != "nccl") return;
  if (device == "cpu") throw wrong_value("distributed.backend", "mpi on the CPU", "nccl", "mpi");
  if (const std::string refusal = refusal_of(nccl_facts()); !refusal.empty()) {
    throw wrong_value("distributed.backend", "mpi: " + refusal, "nccl", "mpi");
  }
}

// What the device's libraries take at their first matrix product.
int64_t first_product_bytes(torch::Device device) {
  if (device.is_cpu()) return 0;
  const auto before = static_cast<int64_t>(MemoryMeter::current_bytes());
  {
    const torch::Tensor one = torch::ones({64, 64}, device);
    torch::mm(one, one);
  }
  return static_cast<int64_t>(MemoryMeter::current_bytes()) - before;
}

}  // namespace

DeviceChoice choose_device(Config& config, Communicator& host) {
  int index = -1;  // the CPU
  std::string taken;
  together(host, [&] {
    try {
      const int visible = visible_devices();
      resolve(config, visible);
      taken = host.describe(host.rank());
      if (config.run.device == "cpu") return;
      index = device_of(host.local_rank(), visible);
      taken = taken.substr(taken.find(" on ") + 4) + ", " + describe_device(index).address;  // equal for equal devices
    } catch (const InvalidSetting& error) {
      throw at_setting(config, error);
    }
  });
  const std::string shared = find_shared_device(gather_texts(host, taken));
  if (!shared.empty() && !config.distributed.share_device) {
    throw SharedFailure(kConfiguration, fmt::format("distributed.share_device: expected true with {}, got false; start "
                                                    "fewer ranks on this host, or give each its own device",
                                                    shared));
  }
  const bool is_tf32 = config.precision.compute == "tf32";
  const torch::Device device = index < 0 ? torch::Device(torch::kCPU) : use_device(index, is_tf32);
  MemoryMeter::follow(device);
  return {device, first_product_bytes(device)};
}

DeviceChoice choose_device(Config& config) { return choose_device(config, *make_lone_communicator()); }

std::string precision_note(const Config& config, torch::Device device) {
  if (config.precision.compute != "bf16" || !device.is_cpu()) return "";
  const bool has_bf16 = read_host_facts().flags.find("_bf16 ") != std::string::npos;  // avx512_bf16, amx_bf16
  return has_bf16 ? "" : "this processor has no bfloat16 instructions: bf16 saves memory here and costs time\n";
}

std::unique_ptr<Communicator> connect_device(const Config& config, Communicator& host, torch::Device device,
                                             double limit_seconds) {
  if (device.is_cpu() || host.size() == 1) return nullptr;
  if (config.distributed.backend != "nccl") return make_staged_communicator(host, device);
  const Patience patience{20, [](const std::string& message) {
                            fmt::print(stderr, "reprise: {}\n", message);
                            abort_mpi_job(kPeerLost);
                          }};
  return make_nccl_communicator(host, device, patience, limit_seconds);
}

}  // namespace reprise
