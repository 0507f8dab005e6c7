#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/config.h"
#include "launcher/units.h"
#include "launcher/yaml_source.h"
#include "model/invalid_setting.h"

namespace reprise {

// One key of the configuration: what is legal there and how its value gets in and out of a Config.
struct Setting {
  std::string key;                                     // dotted
  std::string expected;                                // "an integer in 1 … 1000"
  std::string meaning;                                 // one line for people
  std::function<void(Config&, const YamlNode&)> read;  // throws InvalidSetting
  std::function<std::string(const Config&)> write;     // YAML that reads back to the same value
};

// "expected …, got …; did you mean …?" of one key; the last part only where there is a suggestion.
InvalidSetting wrong_value(const std::string& key, const std::string& expected, const std::string& got,
                           const std::string& suggestion = "");
std::string describe(const YamlNode& node);      // what a message says after "got"
std::string yaml_text(const std::string& text);  // quoted where YAML would read something else

// A closed range; `above` and `below` exclude its ends.
struct Range {
  double low, high;
  bool above = false, below = false;
  bool contains(double value) const {
    return (above ? value > low : value >= low) && (below ? value < high : value <= high);
  }
};

// Scalars by strict reading; each throws InvalidSetting that says `expected`.
int64_t read_integer(const std::string& key, const std::string& expected, const YamlNode& node, int64_t low,
                     int64_t high);
double read_number(const std::string& key, const std::string& expected, const YamlNode& node, const Range& range);
int64_t read_bytes(const std::string& key, const std::string& expected, const YamlNode& node, int64_t low,
                   int64_t high);
double read_seconds(const std::string& key, const std::string& expected, const YamlNode& node, const Range& range);
bool read_boolean(const std::string& key, const YamlNode& node);
std::string read_text(const std::string& key, const std::string& expected, const YamlNode& node);
size_t read_choice(const std::string& key, const YamlNode& node, const std::vector<std::string>& names);

std::string integer_range(int64_t low, int64_t high);  // "an integer in 1 … 1000", "an integer, at least 1"
std::string number_range(const Range& range);          // "a number in [0, 1)"
std::string one_of(const std::vector<std::string>& names);

// Makers of table rows. `member` is a generic lambda from a Config (const or not) to the member it fills.
template <class Member>
Setting integer_setting(std::string key, int64_t low, int64_t high, std::string meaning, Member member,
                        const char* or_else = "") {
  const std::string expected = integer_range(low, high) + or_else;
  const auto read = [=](Config& config, const YamlNode& node) {
    auto& target = member(config);
    target = static_cast<std::remove_reference_t<decltype(target)>>(read_integer(key, expected, node, low, high));
  };
  return {key, expected, std::move(meaning), read,
          [=](const Config& config) { return std::to_string(member(config)); }};
}

inline constexpr const char* kOrAuto = ", or auto";

// `inner`, which expects kOrAuto, or the word auto, which the member holds as kAuto.
template <class Member>
Setting or_auto(const Setting& inner, Member member) {
  const auto is_auto = [](const YamlNode& node) {
    return node.kind == YamlNode::Kind::scalar && !node.quoted && node.text == "auto";
  };
  Setting setting = inner;
  setting.read = [=](Config& config, const YamlNode& node) {
    if (is_auto(node)) {
      member(config) = kAuto;
    } else {
      inner.read(config, node);
    }
  };
  setting.write = [=](const Config& config) { return member(config) == kAuto ? "auto" : inner.write(config); };
  return setting;
}

template <class Member>
Setting number_setting(std::string key, Range range, std::string meaning, Member member) {
  const std::string expected = number_range(range);
  return {key, expected, std::move(meaning),
          [=](Config& config, const YamlNode& node) { member(config) = read_number(key, expected, node, range); },
          [=](const Config& config) { return number_text(member(config)); }};
}

template <class Member>
Setting bytes_setting(std::string key, int64_t low, int64_t high, std::string meaning, Member member,
                      const char* or_else = "") {
  const std::string expected = "bytes such as 25MiB, from " + bytes_text(low) + " to " + bytes_text(high) + or_else;
  return {key, expected, std::move(meaning),
          [=](Config& config, const YamlNode& node) { member(config) = read_bytes(key, expected, node, low, high); },
          [=](const Config& config) { return bytes_text(member(config)); }};
}

template <class Member>
Setting seconds_setting(std::string key, Range range, std::string meaning, Member member) {
  const std::string expected =
      "a duration such as 30s, from " + seconds_text(range.low) + " to " + seconds_text(range.high);
  return {key, expected, std::move(meaning),
          [=](Config& config, const YamlNode& node) { member(config) = read_seconds(key, expected, node, range); },
          [=](const Config& config) { return seconds_text(member(config)); }};
}

template <class Member>
Setting boolean_setting(std::string key, std::string meaning, Member member) {
  return {key, "true or false", std::move(meaning),
          [=](Config& config, const YamlNode& node) { member(config) = read_boolean(key, node); },
          [=](const Config& config) { return member(config) ? "true" : "false"; }};
}

template <class Member>
Setting text_setting(std::string key, std::string expected, std::string meaning, Member member) {
  return {key, expected, std::move(meaning),
          [=](Config& config, const YamlNode& node) { member(config) = read_text(key, expected, node); },
          [=](const Config& config) { return yaml_text(member(config)); }};
}

// `choices`: {name, value}; the value is what the member holds.
template <class T, class Member>
Setting choice_setting(std::string key, std::vector<std::pair<std::string, T>> choices, std::string meaning,
                       Member member) {
  std::vector<std::string> names;
  for (const auto& choice : choices) names.push_back(choice.first);
  const auto read = [=](Config& config, const YamlNode& node) {
    member(config) = choices[read_choice(key, node, names)].second;
  };
  const auto write = [=](const Config& config) {
    for (const auto& [name, value] : choices) {
      if (value == member(config)) return name;
    }
    throw std::logic_error(key + " holds a value that is none of its choices");
  };
  return {key, one_of(names), std::move(meaning), read, write};
}

}  // namespace reprise
