#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "checkpointing/cost_table.h"
#include "checkpointing/plan.h"
#include "checkpointing/timeline.h"

namespace reprise {

// The planner: pure functions of a cost table; theory in docs/planner.md. Byte budgets are a rank's tensor bytes, base
// included.

struct PlannedStep {
  Plan plan;
  Prediction predicted;
  double gap = 0;  // proven: no plan within the budget takes less than (1 − gap) · step_seconds; 0: exact
};

// No plan fits the budget.
struct DoesNotFit : std::runtime_error {
  explicit DoesNotFit(PlannedStep smallest_plan);
  const PlannedStep smallest;  // of the plans with the smallest peak, the fastest
};

// The fastest plan whose predicted peak is at most the budget; of equally fast ones, one with the smallest peak. Exact
// for one micro-batch. With several it is exact as long as the search stays small (26 stages and far beyond), otherwise
// `gap` says how far from the best it may be. A larger budget never gives a slower step. Throws DoesNotFit.
PlannedStep fastest_plan(const CostTable& costs, int64_t budget_bytes);

struct FrontierPoint {
  int64_t peak_bytes = 0;
  double step_seconds = 0;
  bool follows_gap = false;  // points between this one and the one before may have been left out
};

// All peaks worth having, falling, with the fastest step at each: no plan is better than every point in one respect and
// as good in the other, and fastest_plan(costs, peak_bytes) is the plan of a point. Every point is exact. Past some
// seconds of work, tens of thousands of points, the rest of the way to the smallest peak is sampled at some 16 budgets.
std::vector<FrontierPoint> frontier(const CostTable& costs);

// The fastest choice of whole layers to recompute, communication ignored: what a 0-1 knapsack finds. Throws DoesNotFit.
PlannedStep knapsack_plan(const CostTable& costs, int64_t budget_bytes);

// The classic recipe: layers by bytes saved (kept at `all` less the boundary of their first stage) per second of
// forward, the lower layer first among equals, each recomputed as a segment of its own while the total saved stays
// within the figure; stops at the first that does not fit.
Plan greedy_plan(const CostTable& costs, int64_t bytes_to_save);

}  // namespace reprise
