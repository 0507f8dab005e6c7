#pragma once

#include <string>

#include "checkpointing/cost_table.h"

namespace reprise {

// Says in words what bounds the step under this plan: "the wire is the bottleneck: the first 7 of 12 layers recompute
// for free", or "compute is the bottleneck: recomputing takes 12.3 % of the step". The wire is the bottleneck when it
// is busy from some gradient on until the step ends while stages below still compute: what they compute costs nothing;
// or when the last micro-batch mostly waits for it, though nothing can hide.
std::string regime_of(const CostTable& costs, const Plan& plan);

}  // namespace reprise
