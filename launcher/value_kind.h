#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "launcher/spelling.h"
#include "launcher/units.h"
#include "launcher/yaml_source.h"

namespace reprise {

// What a key may hold: what is legal, how a YAML node becomes a value and how a value becomes YAML again. read() throws
// InvalidSetting of the key that says what was expected.
template <class T>
struct ValueKind {
  std::string expected;  // "an integer in 1 … 1000"
  std::function<T(const std::string& key, const YamlNode& node)> read;
  std::function<std::string(const T& value)> write;
};

// `above` and `below` exclude the ends.
template <class T>
struct Range {
  T low, high;
  bool above = false, below = false;
};

// With `automatic` the word auto is legal too and reads as that value.
ValueKind<int64_t> integer(int64_t low, int64_t high, std::optional<int64_t> automatic = {});
ValueKind<int64_t> byte_count(int64_t low, int64_t high, std::optional<int64_t> automatic = {});
ValueKind<double> number(Range<double> range);
ValueKind<double> duration(double low, double high);  // seconds
ValueKind<bool> true_or_false();
ValueKind<std::string> text(std::string expected);            // anything but nothing
ValueKind<std::string> budget();                              // bytes or a share, as written
ValueKind<std::string> name(std::vector<std::string> names);  // one of them

std::string describe(const YamlNode& node);  // what a message says after "got"
std::string one_of(const std::vector<std::string>& names);

// One of `choices`, by name.
template <class T>
ValueKind<T> choice(std::vector<std::pair<std::string, T>> choices) {
  std::vector<std::string> names;
  for (const auto& [own_name, value] : choices) names.push_back(own_name);
  const ValueKind<std::string> by_name = name(names);
  const auto read = [=](const std::string& key, const YamlNode& node) {
    return std::ranges::find(choices, by_name.read(key, node), &std::pair<std::string, T>::first)->second;
  };
  const auto write = [=](const T& value) {
    const auto found = std::ranges::find(choices, value, &std::pair<std::string, T>::second);
    if (found == choices.end()) throw std::logic_error("a value that is none of " + by_name.expected);
    return by_name.write(found->first);
  };
  return {by_name.expected, read, write};
}

template <class T, class Item>
ValueKind<std::vector<T>> list_of(std::string expected, ValueKind<Item> item) {
  const auto read = [=](const std::string& key, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::list) throw wrong_value(key, expected, describe(node));
    std::vector<T> values;
    for (size_t i = 0; i < node.items.size(); ++i) {
      values.push_back(static_cast<T>(item.read(key + "[" + std::to_string(i) + "]", node.items[i])));
    }
    return values;
  };
  const auto write = [=](const std::vector<T>& values) {
    std::string yaml;
    for (const T& value : values) yaml += (yaml.empty() ? "" : ", ") + item.write(value);
    return "[" + yaml + "]";
  };
  return {std::move(expected), read, write};
}

}  // namespace reprise
