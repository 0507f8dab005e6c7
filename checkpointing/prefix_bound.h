#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "checkpointing/plan_space.h"

namespace reprise {

// Proven lower bounds for the planner's search: how early can the stages below p be finished when they may hold at most
// so many bytes? The exact answer is a step function; kept here is a convex, decreasing polyline below it, built stage
// by stage from the polylines before (a plan may mix two choices by halves, as in a linear relaxation, but never more
// bytes than the budget at any moment). Immutable after construction.
class PrefixBound {
 public:
  struct Corner {
    double held = 0, ticks = 0;
    double slope = 0;  // from here to the next corner
  };
  // Corners with rising bytes and falling ticks; flat behind the last one.
  using Polyline = std::vector<Corner>;

  // With `wire` false, gradients take no time on the wire and "finished" means computed.
  PrefixBound(const PlanSpace& space, int64_t budget_bytes, bool wire);

  // Ticks; infinite when stages below p cannot hold so little.
  double ticks(int p, double held_bytes) const;

 private:
  std::vector<Polyline> polylines_;  // by p
};

}  // namespace reprise
