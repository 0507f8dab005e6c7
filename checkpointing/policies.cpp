#include "checkpointing/policies.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "model/invalid_setting.h"

namespace reprise {
namespace {

constexpr std::array<const char*, 8> kPolicies = {"none",  "full", "group", "every",
                                                  "ratio", "sqrt", "list",  "segments"};

int layers_of(const std::vector<StageShape>& stages) {
  int layers = 0;
  for (const StageShape& stage : stages) layers = std::max(layers, stage.layer + 1);
  return layers;
}

// Segments from an assignment of layers to groups: stages whose layers share a group ≥ 0 are recomputed together, the
// rest kept.
std::vector<Segment> segments_of(const std::vector<int>& group_of_layer, const std::vector<StageShape>& stages) {
  std::vector<Segment> segments;
  int open_group = -1;
  for (int s = 0; s < static_cast<int>(stages.size()); ++s) {
    const int layer = stages[static_cast<size_t>(s)].layer;
    const int group = layer < 0 ? -1 : group_of_layer[static_cast<size_t>(layer)];
    if (group >= 0 && group == open_group) {
      segments.back().last = s;
    } else {
      segments.push_back({s, s, group >= 0});
    }
    open_group = group;
  }
  return segments;
}

std::vector<int> groups_of(int layers, int layers_per_group) {
  std::vector<int> groups(static_cast<size_t>(layers));
  for (int l = 0; l < layers; ++l) groups[static_cast<size_t>(l)] = l / layers_per_group;
  return groups;
}

std::vector<int> every(int layers, int step) {
  std::vector<int> groups(static_cast<size_t>(layers), -1);
  for (int64_t l = 0; l < layers; l += step) groups[static_cast<size_t>(l)] = static_cast<int>(l);
  return groups;
}

std::vector<int> listed(int layers, const std::vector<int>& list) {
  std::vector<int> groups(static_cast<size_t>(layers), -1);
  for (const int layer : list) {
    const std::string got = std::to_string(layer);
    if (layer < 0 || layer >= layers) {
      throw InvalidSetting("checkpointing.list",
                           "expected layers from 0 to " + std::to_string(layers - 1) + ", got " + got +
                               "; nearest legal value: " + std::to_string(std::clamp(layer, 0, layers - 1)));
    }
    int& group = groups[static_cast<size_t>(layer)];
    if (group >= 0) {
      throw InvalidSetting("checkpointing.list",
                           "expected each layer once, got " + got + " twice; nearest legal value: " + got + " once");
    }
    group = layer;
  }
  return groups;
}

int positive(const char* name, int value) {
  if (value < 1) {
    throw InvalidSetting(std::string("checkpointing.") + name, "expected a whole number of layers, at least 1, got " +
                                                                   std::to_string(value) + "; nearest legal value: 1");
  }
  return value;
}

template <class Value>
std::string text_of(const Value& value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

int step_of_ratio(double ratio, int layers) {
  if (!(ratio > 0 && ratio <= 1)) {
    const std::string nearest = ratio <= 0 ? text_of(1.0 / std::max(layers, 1)) + " (one layer)" : "1";
    throw InvalidSetting("checkpointing.ratio", "expected a number above 0, at most 1, got " + text_of(ratio) +
                                                    "; nearest legal value: " + nearest);
  }
  return static_cast<int>(std::min(std::floor(1.0 / ratio), std::max(1.0, static_cast<double>(layers))));
}

[[noreturn]] void refuse_policy(const std::string& policy) {
  const auto common_prefix = [&](const std::string& name) {
    return std::mismatch(name.begin(), name.end(), policy.begin(), policy.end()).first - name.begin();
  };
  const char* nearest = *std::max_element(kPolicies.begin(), kPolicies.end(), [&](const char* a, const char* b) {
    return common_prefix(a) < common_prefix(b);
  });
  std::string names;
  for (const char* name : kPolicies) names += (names.empty() ? "" : ", ") + std::string(name);
  throw InvalidSetting("checkpointing.policy",
                       "expected one of " + names + ", got \"" + policy + "\"; nearest legal value: " + nearest);
}

std::string text_of(const std::vector<int>& list) {
  std::string text;
  for (const int layer : list) text += (text.empty() ? "" : ", ") + std::to_string(layer);
  return "[" + text + "]";
}

std::vector<SaveLevel> levels_of(const std::vector<SaveLevel>& save, size_t stages) {
  if (save.size() == 1) return std::vector<SaveLevel>(stages, save.front());
  if (save.size() == stages) return save;
  throw InvalidSetting("checkpointing.save", "expected one level, or a list of " + std::to_string(stages) +
                                                 " (one per stage), got " + std::to_string(save.size()) +
                                                 "; nearest legal value: " + std::to_string(stages) + " levels");
}

// Runs a check of the plan and gives its complaint the key of the setting that caused it.
template <class Check>
void as_setting(const char* key, const Check& check) {
  try {
    check();
  } catch (const std::invalid_argument& error) {
    throw InvalidSetting(key, error.what());
  }
}

}  // namespace

Plan plan_of(const PolicySetting& setting, const std::vector<StageShape>& stages) {
  const std::string& policy = setting.policy;
  const int layers = layers_of(stages);
  Plan plan;
  plan.origin = policy;
  if (policy == "none") {
    plan.segments = segments_of(listed(layers, {}), stages);
  } else if (policy == "full") {
    plan.segments = segments_of(groups_of(layers, 1), stages);
  } else if (policy == "group") {
    plan.segments = segments_of(groups_of(layers, positive("group", setting.group)), stages);
    plan.origin += ": " + std::to_string(setting.group);
  } else if (policy == "every") {
    plan.segments = segments_of(every(layers, positive("every", setting.every)), stages);
    plan.origin += ": " + std::to_string(setting.every);
  } else if (policy == "ratio") {
    plan.segments = segments_of(every(layers, step_of_ratio(setting.ratio, layers)), stages);
    plan.origin += ": " + text_of(setting.ratio);
  } else if (policy == "sqrt") {
    const int root = static_cast<int>(std::ceil(std::sqrt(layers)));
    plan.segments = segments_of(groups_of(layers, std::max(root, 1)), stages);
  } else if (policy == "list") {
    plan.segments = segments_of(listed(layers, setting.list), stages);
    plan.origin += ": " + text_of(setting.list);
  } else if (policy == "segments") {
    as_setting("checkpointing.segments", [&] { check_segments(setting.segments, stages); });
    plan.segments = setting.segments;
  } else {
    refuse_policy(policy);
  }
  plan.save = levels_of(setting.save, stages.size());
  as_setting("checkpointing.save", [&] { check_plan(plan, stages); });
  return plan;
}

}  // namespace reprise
