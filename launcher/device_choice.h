#pragma once

#include <memory>
#include <string>

#include "distributed/communicator.h"
#include "launcher/config.h"

namespace reprise {

// What a rank computes on.
struct DeviceChoice {
  torch::Device device = torch::kCPU;
  int64_t library_bytes = 0;  // what its libraries keep for good once they have run: cuBLAS's workspace
};

// Collective: the device that run.device gives this rank, made the current one; the memory meter follows it. Resolves
// in `config` what the device decides: run.device, distributed.backend. Throws SharedFailure on every rank when one of
// them cannot honour a setting.
DeviceChoice choose_device(Config& config, Communicator& host);

// The same for a command of one process.
DeviceChoice choose_device(Config& config);

// A line about a precision that costs time on this device; "" of others.
std::string precision_note(const Config& config, torch::Device device);

// Collective: what carries the tensors of `device` between the ranks of `host`, which must outlive it; null: `host`
// itself does.
std::unique_ptr<Communicator> connect_device(const Config& config, Communicator& host, torch::Device device,
                                             double limit_seconds);

}  // namespace reprise
