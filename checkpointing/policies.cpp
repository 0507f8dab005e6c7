#include "checkpointing/policies.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/model_config.h"

namespace reprise {
namespace {

int layers_of(const std::vector<StageShape>& stages) {
  int layers = 0;
  for (const StageShape& stage : stages) layers = std::max(layers, stage.layer + 1);
  return layers;
}

// Stages whose layers share a group ≥ 0 are recomputed together, the rest kept.
template <class GroupOfLayer>
std::vector<Segment> segments_of(const std::vector<StageShape>& stages, const GroupOfLayer& group_of) {
  std::vector<Segment> segments;
  int open_group = -1;
  for (int s = 0; s < static_cast<int>(stages.size()); ++s) {
    const int layer = stages[static_cast<size_t>(s)].layer;
    const int group = layer < 0 ? -1 : group_of(layer);
    if (group >= 0 && group == open_group) {
      segments.back().last = s;
    } else {
      segments.push_back({s, s, group >= 0});
    }
    open_group = group;
  }
  return segments;
}

[[noreturn]] void refuse(const char* key, const std::string& message) {
  throw InvalidSetting(std::string("checkpointing.") + key, message);
}

void check_list(const std::vector<int>& list, int layers) {
  for (auto layer = list.begin(); layer != list.end(); ++layer) {
    if (*layer < 0 || *layer >= layers) {
      refuse("list", fmt::format("expected layers from 0 to {}, got {}; nearest legal value: {}", layers - 1, *layer,
                                 std::clamp(*layer, 0, layers - 1)));
    }
    if (std::count(list.begin(), layer, *layer) > 0) {
      refuse("list", fmt::format("expected each layer once, got {0} twice; nearest legal value: {0} once", *layer));
    }
  }
}

int positive(const char* key, int value) {
  if (value < 1) {
    refuse(key, fmt::format("expected a whole number of layers, at least 1, got {}; nearest legal value: 1", value));
  }
  return value;
}

int step_of_ratio(double ratio, int layers) {
  if (!(ratio > 0 && ratio <= 1)) {
    const std::string nearest = ratio <= 0 ? fmt::format("{:g} (one layer)", 1.0 / std::max(layers, 1)) : "1";
    refuse("ratio",
           fmt::format("expected a number above 0, at most 1, got {:g}; nearest legal value: {}", ratio, nearest));
  }
  return static_cast<int>(std::min(std::floor(1.0 / ratio), std::max(1.0, static_cast<double>(layers))));
}

std::vector<SaveLevel> levels_of(const std::vector<SaveLevel>& save, size_t stages) {
  if (save.size() == 1) return std::vector<SaveLevel>(stages, save.front());
  if (save.size() == stages) return save;
  refuse("save", fmt::format("expected one level, or a list of {0} (one per stage), got {1}; nearest legal value: {0} "
                             "levels",
                             stages, save.size()));
}

}  // namespace

Plan plan_of(const PolicySetting& setting, const std::vector<StageShape>& stages) {
  const std::string& policy = setting.policy;
  const int layers = layers_of(stages);
  Plan plan;
  plan.origin = policy;
  const auto in_groups = [&](int size) { return segments_of(stages, [=](int layer) { return layer / size; }); };
  const auto each = [&](const auto& is_recomputed) {
    return segments_of(stages, [&](int layer) { return is_recomputed(layer) ? layer : -1; });
  };
  if (policy == "none") {
    plan.segments = each([](int) { return false; });
  } else if (policy == "full") {
    plan.segments = in_groups(1);
  } else if (policy == "group") {
    plan.segments = in_groups(positive("group", setting.group));
    plan.origin += fmt::format(": {}", setting.group);
  } else if (policy == "every") {
    plan.segments = each([step = positive("every", setting.every)](int layer) { return layer % step == 0; });
    plan.origin += fmt::format(": {}", setting.every);
  } else if (policy == "ratio") {
    plan.segments = each([step = step_of_ratio(setting.ratio, layers)](int layer) { return layer % step == 0; });
    plan.origin += fmt::format(": {:g}", setting.ratio);
  } else if (policy == "sqrt") {
    plan.segments = in_groups(std::max(1, static_cast<int>(std::ceil(std::sqrt(layers)))));
  } else if (policy == "list") {
    check_list(setting.list, layers);
    plan.segments = each([&](int layer) { return std::count(setting.list.begin(), setting.list.end(), layer) > 0; });
    plan.origin += fmt::format(": [{}]", fmt::join(setting.list, ", "));
  } else if (policy == "segments") {
    plan.segments = setting.segments;
  } else {
    refuse("policy", "expected none, full, group, every, ratio, sqrt, list or segments, got \"" + policy + "\"");
  }
  plan.save = levels_of(setting.save, stages.size());
  check_plan(plan, stages);
  return plan;
}

}  // namespace reprise
