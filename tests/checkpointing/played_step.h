#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "checkpointing/cost_table.h"
#include "checkpointing/plan.h"

namespace reprise {

struct PlayedStep {
  double step_seconds = 0, exposed_seconds = 0;
  int64_t peak_bytes = 0, end_bytes = 0;
};

// The model of a step played out, independent of the timeline's formulas: one clock, one counter of bytes that grows
// and shrinks as things come alive and die.
inline PlayedStep play(const CostTable& costs, const Plan& plan) {
  int64_t alive = costs.base_bytes, peak = alive;
  double clock = 0, computed = 0, wire_free = 0, owed = 0;  // to the wire, by the next backward
  const auto run = [&](double seconds, int64_t workspace) {
    peak = std::max(peak, alive + workspace);
    clock += seconds;
    computed += seconds;
  };
  const auto save = [&](int s) { return costs[s].at(plan.save[static_cast<size_t>(s)]); };
  for (int64_t micro = 0; micro < costs.micro_batches; ++micro) {
    for (const Segment& segment : plan.segments) {
      if (segment.recompute) alive += costs[segment.first].boundary_bytes;
      for (int s = segment.first; s <= segment.last; ++s) {
        const int64_t born = !segment.recompute ? save(s).kept_bytes : s > segment.first ? costs[s].boundary_bytes : 0;
        alive += born;
        run(costs[s].forward_seconds, save(s).forward_workspace_bytes);
        if (segment.recompute) alive -= born;
      }
    }
    auto bucket = costs.buckets.begin();
    for (auto segment = plan.segments.rbegin(); segment != plan.segments.rend(); ++segment) {
      if (segment->recompute) {
        const int64_t gradient = segment->last + 1 == costs.size() ? 0 : costs[segment->last + 1].boundary_bytes;
        alive += gradient - costs[segment->first].boundary_bytes;
        for (int s = segment->first; s <= segment->last; ++s) {
          alive += save(s).kept_bytes;
          run(costs[s].forward_seconds - (s == segment->last ? costs[s].early_stop_seconds : 0),
              save(s).forward_workspace_bytes);
        }
        alive -= gradient;
      }
      for (int s = segment->last; s >= segment->first; --s) {
        for (const bool is_late : {false, true}) {
          const double before = costs[s].backward_seconds + save(s).extra_seconds - costs[s].late_seconds;
          run((is_late ? costs[s].late_seconds : before) + owed, save(s).backward_workspace_bytes);
          owed = 0;
          if (!costs.wire || micro + 1 < costs.micro_batches) continue;
          for (; bucket != costs.buckets.end() && bucket->lowest == s && bucket->is_early != is_late; ++bucket) {
            const double seconds =
                costs.wire->latency_seconds + static_cast<double>(bucket->bytes) / costs.wire->bytes_per_second;
            wire_free = std::max(clock, wire_free) + seconds;
            owed += costs.wire->compute_share * seconds;
          }
        }
        alive -= save(s).kept_bytes;
      }
    }
  }
  const double end = std::max(clock, wire_free);
  return {end + costs.optimizer_seconds, end - computed, peak, alive};
}

// Calls visit(plan) with every plan of the chain.
inline void for_every_plan(const CostTable& costs, const std::function<void(const Plan&)>& visit) {
  Plan plan;
  const std::function<void()> grow = [&] {
    const int first = static_cast<int>(plan.save.size());
    if (first == costs.size()) return visit(plan);
    for (const SaveLevel level : kSaveLevels) {
      for (int last = first; last < costs.size(); ++last) {
        for (const bool recompute : {false, true}) {
          if (recompute ? !costs[last].recomputable : last > first) continue;
          plan.segments.push_back({first, last, recompute});
          plan.save.resize(static_cast<size_t>(last) + 1, level);
          grow();
          plan.segments.pop_back();
          plan.save.resize(static_cast<size_t>(first));
        }
        if (!costs[last].recomputable) break;
      }
    }
  };
  grow();
}

}  // namespace reprise
