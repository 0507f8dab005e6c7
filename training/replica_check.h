#pragma once

#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "training/snapshot_format.h"

namespace reprise {

// Replicas: after every step all ranks hold the same flat tensors, bit for bit, for they start equal and add the same
// sums. A broken memory cell or a kernel that adds in another order shows as a hash that differs.

// XXH3-64 of the tensors' bytes as its upper and lower 32 bits, which a sum in fp64 carries exactly. Of a device's
// tensors: of eight sums each of 64-bit words, modulo 2^64, made there, for copying them all would cost a part of a
// step; one flipped bit changes a sum. The moments count, too: they go into snapshots, and a difference in them is one
// in the weights a step later. The host waits for the device.
std::vector<double> replica_hash(const std::vector<FlatState>& states);

// What all ranks' hashes, (ranks, 2) fp64, say of `step`: nothing when they are equal; else one line that names the
// ranks, with hosts, that are not with the majority, or, where there is none, as of two ranks, all of them.
std::string divergence(const Communicator& communicator, int64_t step, const torch::Tensor& hashes);

}  // namespace reprise
