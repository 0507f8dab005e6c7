#pragma once

#include <string>
#include <vector>

#include "checkpointing/plan.h"

namespace reprise {

// The `checkpointing:` part of a configuration, parsed but not yet resolved against a model.
struct PolicySetting {
  // none full group every ratio sqrt list segments (and, from cost tables, budget greedy knapsack)
  std::string policy = "none";
  int group = 3;
  int every = 2;
  double ratio = 0.25;
  std::vector<int> list;
  std::vector<Segment> segments;                // in stages
  std::vector<SaveLevel> save{SaveLevel::all};  // one for all stages, or one per stage
};

// Pure functions of the chain's shape. Policies in layers leave embedding and head kept. All throw InvalidSetting with
// a key under "checkpointing." that names the nearest legal value.
Plan plan_of(const PolicySetting& setting, const std::vector<StageShape>& stages);

}  // namespace reprise
