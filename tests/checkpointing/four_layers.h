#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "checkpointing/cost_table.h"

namespace reprise {

// The worked example of docs/planner.md: four layers, each one stage.
inline CostTable four_layers() {
  constexpr int64_t kMiB = 1 << 20;
  CostTable costs;
  costs.base_bytes = 10 * kMiB;
  costs.optimizer_seconds = 1e-3;
  costs.wire = WireModel{0.5e-3, 1e9};
  for (int layer = 0; layer < 4; ++layer) {
    StageCost stage;
    stage.name = "layer" + std::to_string(layer);
    stage.layer = layer;
    stage.recomputable = true;
    stage.forward_seconds = 2e-3;
    stage.backward_seconds = 4e-3;
    stage.boundary_bytes = kMiB;
    stage.saves = {
        {{8 * kMiB, 0, kMiB, 2 * kMiB}, {6 * kMiB, 0.25e-3, kMiB, 2 * kMiB}, {kMiB, 1.25e-3, kMiB, 6 * kMiB}}};
    costs.stages.push_back(stage);
    costs.buckets.push_back({3 - layer, 3 - layer, 4'500'000});  // 5 ms each
  }
  return costs;
}

inline Plan keep_but(const std::vector<int>& recomputed) {
  Plan plan;
  plan.save.assign(4, SaveLevel::all);
  for (int s = 0; s < 4; ++s) {
    plan.segments.push_back({s, s, std::find(recomputed.begin(), recomputed.end(), s) != recomputed.end()});
  }
  return plan;
}

}  // namespace reprise
