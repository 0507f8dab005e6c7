#include "launcher/regime.h"

#include <fmt/format.h>

#include <map>

#include "checkpointing/timeline.h"

namespace reprise {

namespace {

// The stage from whose gradients on the wire is busy until the step ends; stages below it compute for free.
int critical_stage(const CostTable& costs, const Timeline& timeline) {
  int critical = 0;
  double busy_from = -1;  // start of the bucket behind
  for (auto event = timeline.events.rbegin(); event != timeline.events.rend(); ++event) {
    if (event->kind != TimelineKind::wire || (busy_from >= 0 && event->end_seconds < busy_from)) break;
    critical = costs.buckets[static_cast<size_t>(event->index)].lowest;
    busy_from = event->start_seconds;
  }
  return critical;
}

std::string wire_bound(const CostTable& costs, const Plan& plan, int critical) {
  struct Layer {
    bool recomputes = false, is_free = true;
  };
  std::map<int, Layer> layers;
  for (const Segment& segment : plan.segments) {
    for (int s = segment.first; s <= segment.last; ++s) {
      if (costs[s].layer < 0) continue;
      Layer& layer = layers[costs[s].layer];
      layer.recomputes |= segment.recompute || plan.save[static_cast<size_t>(s)] != SaveLevel::all;
      layer.is_free &= s < critical;
    }
  }
  size_t free = 0, used = 0, last_used = 0;  // free layers are the first ones
  for (const auto& [number, layer] : layers) {
    if (!layer.is_free) break;
    ++free;
    if (layer.recomputes) ++used, last_used = free;
  }
  const std::string regime = "the wire is the bottleneck: ";
  if (free == 0) return regime + "no whole layer is hidden behind it";
  const auto first = [&](size_t count) { return fmt::format("the first {} of {} layers", count, layers.size()); };
  if (used == 0) return regime + first(free) + " could recompute for free";
  if (used == last_used) return regime + first(used) + " recompute for free";
  return fmt::format("{}{} of {} recompute for free", regime, used, first(free));
}

}  // namespace

std::string regime_of(const CostTable& costs, const Plan& plan) {
  CostTable last_micro_batch = costs;  // the one that reduces
  last_micro_batch.micro_batches = 1;
  const Timeline timeline = simulate(last_micro_batch, plan);
  const int critical = critical_stage(costs, timeline);
  const bool mostly_waits = 2 * timeline.predicted.exposed_seconds > timeline.predicted.step_seconds;
  if (critical > 0 || mostly_waits) return wire_bound(costs, plan, critical);

  double recomputing = 0;
  for (const TimelineEvent& event : timeline.events) {
    if (event.kind == TimelineKind::replay) recomputing += event.end_seconds - event.start_seconds;
    if (event.kind == TimelineKind::backward) {
      recomputing += costs[event.index].at(plan.save[static_cast<size_t>(event.index)]).extra_seconds;
    }
  }
  const double step = predict(costs, plan).step_seconds;
  const double percent = step > 0 ? 100 * recomputing * static_cast<double>(costs.micro_batches) / step : 0;
  return fmt::format("compute is the bottleneck: recomputing takes {:.1f} % of the step", percent);
}

}  // namespace reprise
