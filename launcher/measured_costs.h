#pragma once

#include <cstdint>
#include <functional>

#include "checkpointing/cost_table.h"
#include "distributed/communicator.h"
#include "launcher/config.h"
#include "launcher/device_choice.h"

namespace reprise {

// Throws InvalidSetting unless so many ranks can share the global batch.
void check_batch(const Config& config, int ranks);

// The cost table of a configuration's model on this machine, as one of `ranks` ranks sees it: stages by the profiler,
// bytes of parameters, gradients, moments and batches, the update's seconds, the gradient buckets. No wire. Layers are
// alike, so a model of two layers is measured and its stages stand for those of all. Takes some `seconds` and the
// memory of those layers. Calls check_batch().
CostTable measure_costs(const Config& config, const DeviceChoice& choice, int ranks, double seconds = 4);

// The same, from the file of an earlier call with equal (model, micro-batch, precision, processor, threads, build) if
// there is one under $REPRISE_CACHE (~/.cache/reprise), else measured, which `announce` says beforehand, and kept
// there.
CostTable cached_costs(const Config& config, const DeviceChoice& choice, int ranks, double seconds,
                       const std::function<void()>& announce);

// Collective. Latency and bandwidth that fit the ranks' sums of a short and a long tensor while they compute, and what
// the communication thread takes of a core, if it has none of its own; equal on every rank. Below a second.
WireModel fit_wire(Communicator& communicator, torch::Device device);

// Collective: every time and byte count in the table becomes the largest of all ranks'. The tables have the same shape.
void take_worst(Communicator& communicator, CostTable& costs);

}  // namespace reprise
