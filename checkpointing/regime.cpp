#include "checkpointing/regime.h"

#include <algorithm>
#include <cstdio>
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

struct LayerUse {
  bool recomputes = false, is_free = true;
};

std::vector<LayerUse> layers_of(const CostTable& costs, const Plan& plan, int critical) {
  std::map<int, LayerUse> layers;
  for (const Segment& segment : plan.segments) {
    for (int s = segment.first; s <= segment.last; ++s) {
      if (costs[s].layer < 0) continue;
      LayerUse& layer = layers[costs[s].layer];
      layer.recomputes |= segment.recompute || plan.save[static_cast<size_t>(s)] != SaveLevel::all;
      layer.is_free &= s < critical;
    }
  }
  std::vector<LayerUse> uses;
  for (const auto& [number, use] : layers) uses.push_back(use);
  return uses;
}

std::string wire_bound(const std::vector<LayerUse>& layers) {
  const auto count = [&](auto condition) {
    return std::to_string(std::count_if(layers.begin(), layers.end(), condition));
  };
  const std::string free = count([](const LayerUse& use) { return use.is_free; });
  const std::string used = count([](const LayerUse& use) { return use.is_free && use.recomputes; });
  const std::string of_all = " of " + std::to_string(layers.size()) + " layers";
  const std::string regime = "the wire is the bottleneck: ";
  if (free == "0") return regime + "no whole layer is hidden behind it";
  if (used == "0") return regime + "the first " + free + of_all + " could recompute for free";
  const auto last_used =
      std::find_if(layers.rbegin(), layers.rend(), [](const LayerUse& use) { return use.is_free && use.recomputes; });
  if (std::to_string(layers.rend() - last_used) == used) {
    return regime + "the first " + used + of_all + " recompute for free";
  }
  return regime + used + " of the first " + free + of_all + " recompute for free";
}

}  // namespace

std::string regime_of(const CostTable& costs, const Plan& plan) {
  CostTable last_micro_batch = costs;  // the one that reduces
  last_micro_batch.micro_batches = 1;
  const Timeline timeline = simulate(last_micro_batch, plan);
  const int critical = critical_stage(costs, timeline);
  const bool mostly_waits = 2 * timeline.predicted.exposed_seconds > timeline.predicted.step_seconds;
  if (critical > 0 || mostly_waits) return wire_bound(layers_of(costs, plan, critical));

  double recomputing = 0;
  for (const TimelineEvent& event : timeline.events) {
    if (event.kind == TimelineKind::replay) recomputing += event.end_seconds - event.start_seconds;
    if (event.kind == TimelineKind::backward) {
      recomputing += costs[event.index].at(plan.save[static_cast<size_t>(event.index)]).extra_seconds;
    }
  }
  const double step = predict(costs, plan).step_seconds;
  const double percent = step > 0 ? 100 * recomputing * static_cast<double>(costs.micro_batches) / step : 0;
  char text[80];
  std::snprintf(text, sizeof text, "compute is the bottleneck: recomputing takes %.1f %% of the step", percent);
  return text;
}

}  // namespace reprise
