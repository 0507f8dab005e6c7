#pragma once

#include <memory>

#include "distributed/communicator.h"

namespace reprise {

// Lets a communicator of CPU tensors carry a device's, through pinned memory: for machines without NCCL between ranks,
// and as the reference for NCCL. start_sum makes the host wait until the bytes have left the device, Pending::wait
// until the ranks have answered; what the device is given in between runs beside the sum. `host` must outlive it.
std::unique_ptr<Communicator> make_staged_communicator(Communicator& host, torch::Device device);

}  // namespace reprise
