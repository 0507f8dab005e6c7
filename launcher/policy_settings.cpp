#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>

#include "launcher/config_schema.h"
#include "launcher/spelling.h"

namespace reprise {

namespace {

constexpr int kMostLayers = 4096;
const std::vector<std::string> kLevels = {"all", "lean", "input"};

std::string element(const std::string& key, size_t i) { return fmt::format("{}[{}]", key, i); }

void require_list(const std::string& key, const std::string& expected, const YamlNode& node) {
  if (node.kind != YamlNode::Kind::list) throw wrong_value(key, expected, describe(node));
}

Setting layer_list() {
  const std::string key = "checkpointing.list", expected = "a list of layers such as [0, 3]";
  const auto read = [=](Config& config, const YamlNode& node) {
    require_list(key, expected, node);
    config.checkpointing.list.clear();
    for (size_t i = 0; i < node.items.size(); ++i) {
      const int64_t layer =
          read_integer(element(key, i), integer_range(0, kMostLayers - 1), node.items[i], 0, kMostLayers - 1);
      config.checkpointing.list.push_back(static_cast<int>(layer));
    }
  };
  const auto write = [](const Config& config) {
    return fmt::format("[{}]", fmt::join(config.checkpointing.list, ", "));
  };
  return {key, expected, "layers that policy `list` recomputes, each alone", read, write};
}

Segment read_segment(const std::string& key, const YamlNode& node) {
  const std::vector<std::string> names = {"first", "last", "recompute"};
  if (node.kind != YamlNode::Kind::map) throw wrong_value(key, "{first: 1, last: 4, recompute: true}", describe(node));
  Segment segment;
  std::vector<bool> seen(names.size());
  for (size_t i = 0; i < node.items.size(); ++i) {
    const std::string path = key + "." + node.keys[i];
    const auto name = std::find(names.begin(), names.end(), node.keys[i]);
    if (name == names.end()) {
      throw InvalidSetting(path, fmt::format("expected one of {}, got an unknown key{}", fmt::join(names, ", "),
                                             did_you_mean(nearest_spelling(node.keys[i], names))));
    }
    seen[static_cast<size_t>(name - names.begin())] = true;
    if (*name == "recompute") {
      segment.recompute = read_boolean(path, node.items[i]);
    } else {
      const int64_t stage =
          read_integer(path, integer_range(0, 2 * kMostLayers + 1), node.items[i], 0, 2 * kMostLayers + 1);
      (*name == "first" ? segment.first : segment.last) = static_cast<int>(stage);
    }
  }
  for (size_t i = 0; i < names.size(); ++i) {
    if (!seen[i]) throw wrong_value(key + "." + names[i], "a value", "nothing");
  }
  return segment;
}

Setting segment_list() {
  const std::string key = "checkpointing.segments", expected = "a list of {first: 1, last: 4, recompute: true}";
  const auto read = [=](Config& config, const YamlNode& node) {
    require_list(key, expected, node);
    config.checkpointing.segments.clear();
    for (size_t i = 0; i < node.items.size(); ++i) {
      config.checkpointing.segments.push_back(read_segment(element(key, i), node.items[i]));
    }
  };
  const auto write = [](const Config& config) {
    std::vector<std::string> items;
    for (const Segment& segment : config.checkpointing.segments) {
      items.push_back(
          fmt::format("{{first: {}, last: {}, recompute: {}}}", segment.first, segment.last, segment.recompute));
    }
    return fmt::format("[{}]", fmt::join(items, ", "));
  };
  return {key, expected, "what policy `segments` does, in stages", read, write};
}

Setting save_levels() {
  const std::string key = "checkpointing.save",
                    expected = one_of(kLevels) + ", or a list with one of them for each stage";
  const auto read = [=](Config& config, const YamlNode& node) {
    const auto level_of = [](const std::string& path, const YamlNode& item) {
      return save_level_of(kLevels[read_choice(path, item, kLevels)]);
    };
    std::vector<SaveLevel> levels;
    if (node.kind == YamlNode::Kind::scalar) {
      levels.push_back(level_of(key, node));
    } else {
      require_list(key, expected, node);
      for (size_t i = 0; i < node.items.size(); ++i) levels.push_back(level_of(element(key, i), node.items[i]));
    }
    config.checkpointing.save = std::move(levels);
  };
  const auto write = [](const Config& config) {
    std::vector<std::string> names;
    for (SaveLevel level : config.checkpointing.save) names.push_back(name_of(level));
    return names.size() == 1 ? names[0] : fmt::format("[{}]", fmt::join(names, ", "));
  };
  return {key, expected, "what a stage keeps for its backward", read, write};
}

template <class Member>
Setting budget_setting(const std::string& key, const std::string& meaning, Member member) {
  const std::string expected = "bytes such as 3GiB, or a share of the memory such as 90%";
  const auto read = [=](Config& config, const YamlNode& node) {
    const bool is_plain = node.kind == YamlNode::Kind::scalar && !node.quoted;
    if (!is_plain || (!parse_bytes(node.text) && !parse_percent(node.text))) {
      throw wrong_value(key, expected, describe(node));
    }
    member(config) = node.text;
  };
  return {key, expected, meaning, read, [=](const Config& config) { return member(config); }};
}

}  // namespace

std::vector<Setting> checkpointing_settings() {
  std::vector<std::pair<std::string, std::string>> policies;
  for (const char* name :
       {"none", "full", "group", "every", "ratio", "sqrt", "list", "segments", "budget", "knapsack", "greedy"}) {
    policies.emplace_back(name, name);
  }
#define MEMBER(path) \
  [](auto& config) -> auto& { return config.path; }
  return {
      choice_setting<std::string>("checkpointing.policy", policies, "which layers recompute their activations",
                                  MEMBER(checkpointing.policy)),
      integer_setting("checkpointing.group", 1, kMostLayers, "layers of a segment of policy `group`",
                      MEMBER(checkpointing.group)),
      integer_setting("checkpointing.every", 1, kMostLayers, "policy `every` recomputes layers 0, k, 2k, …",
                      MEMBER(checkpointing.every)),
      number_setting("checkpointing.ratio", {0, 1, true}, "share of layers that policy `ratio` recomputes",
                     MEMBER(checkpointing.ratio)),
      layer_list(),
      segment_list(),
      save_levels(),
      budget_setting("checkpointing.budget", "tensor bytes of a rank that policy `budget` may use",
                     MEMBER(budget.budget)),
      budget_setting("checkpointing.knapsack", "the same for policy `knapsack`", MEMBER(budget.knapsack)),
      bytes_setting("checkpointing.greedy", 0, int64_t{1} << 50, "bytes that policy `greedy` saves",
                    MEMBER(budget.greedy_bytes)),
  };
#undef MEMBER
}

}  // namespace reprise
