#pragma once

#include <memory>

#include "distributed/communicator.h"

namespace reprise {

// Sums a device's tensors by NCCL, in its order, on a high-priority stream of its own, which meets the current stream
// by events: in a step the host waits for the device in Pending::interval() only. `host`, a communicator of the same
// ranks, carries NCCL's id, tensors on the CPU and barriers; it must outlive this one. A thread watches: an error of
// NCCL or the device, or no end of the oldest operation within the limit, counted from its call or the end of the one
// before, ends all by an abort, so that nothing on the device hangs, and every later call and wait throws PeerLost. The
// limit has to cover a step's computation, too. Collective; `device` is the current one; the start may take
// limit_seconds, an abort and any call of NCCL `patience`. Throws std::runtime_error in a build without NCCL.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, torch::Device device, Patience patience,
                                                     double limit_seconds);

}  // namespace reprise
