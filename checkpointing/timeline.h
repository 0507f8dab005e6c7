#pragma once

#include <cstdint>
#include <vector>

#include "checkpointing/cost_table.h"
#include "checkpointing/plan.h"

namespace reprise {

// What a plan costs by the model of docs/planner.md: sums and maxima, no events.
struct Prediction {
  double step_seconds = 0;
  double exposed_seconds = 0;  // the step minus all computing and the optimizer
  int64_t peak_bytes = 0;
};

// Both throw std::invalid_argument when the plan does not fit the chain (check_plan).
Prediction predict(const CostTable& costs, const Plan& plan);

enum class TimelineKind { forward, replay, backward, wire, optimizer };

struct TimelineEvent {
  TimelineKind kind = TimelineKind::forward;
  int index = -1;  // the stage; for `wire` the bucket; -1 for the optimizer
  int64_t micro_batch = 0;
  double start_seconds = 0, end_seconds = 0;
};

// The memory curve is a step function: so many bytes from this time on.
struct MemoryPoint {
  double seconds = 0;
  int64_t bytes = 0;
};

// One step played event by event: the compute lane runs one event after the other, the wire lane carries buckets in
// order.
struct Timeline {
  Prediction predicted;
  std::vector<TimelineEvent> events;  // compute lane first, in time order, then the wire lane
  std::vector<MemoryPoint> memory;
};

Timeline simulate(const CostTable& costs, const Plan& plan);

}  // namespace reprise
