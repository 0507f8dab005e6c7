#include "launcher/setting.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "launcher/spelling.h"

namespace reprise {

namespace {

bool is_plain_scalar(const YamlNode& node) { return node.kind == YamlNode::Kind::scalar && !node.quoted; }

std::string bracket(const Range& range) {
  return fmt::format("{}{}, {}{}", range.above ? '(' : '[', range.low, range.high, range.below ? ')' : ']');
}

// The nearest legal value, where the range has one on that side.
std::string nearest_in(double value, const Range& range) {
  if (value <= range.low && !range.above) return number_text(range.low);
  if (value >= range.high && !range.below) return number_text(range.high);
  return {};
}

}  // namespace

InvalidSetting wrong_value(const std::string& key, const std::string& expected, const std::string& got,
                           const std::string& suggestion) {
  return InvalidSetting(key, fmt::format("expected {}, got {}{}", expected, got, did_you_mean(suggestion)));
}

std::string describe(const YamlNode& node) {
  constexpr size_t kMostShown = 60;
  switch (node.kind) {
    case YamlNode::Kind::nothing:
      return "nothing";
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      return "a map";
    case YamlNode::Kind::scalar:
      break;
  }
  // Escapes line breaks, so that the message stays one line; a cut may fall into a character, hence `replace`.
  std::string shown =
      nlohmann::json(node.text.substr(0, kMostShown)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (node.text.size() > kMostShown) shown.insert(shown.size() - 1, "…");
  if (!node.quoted && shown.size() == node.text.size() + 2 && !node.text.empty()) return node.text;
  return "the text " + shown;
}

std::string yaml_text(const std::string& text) {
  const auto is_safe = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::string_view("_/.-").find(c) != std::string::npos;
  };
  const bool is_word = !text.empty() && std::all_of(text.begin(), text.end(), is_safe) &&
                       (std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '/' || text[0] == '_');
  const bool is_null = text == "null" || text == "Null" || text == "NULL";
  if (is_word && !is_null) return text;
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

int64_t read_integer(const std::string& key, const std::string& expected, const YamlNode& node, int64_t low,
                     int64_t high) {
  const std::optional<int64_t> value = is_plain_scalar(node) ? parse_integer(node.text) : std::nullopt;
  if (!value) throw wrong_value(key, expected, describe(node));
  if (*value < low || *value > high) {
    throw wrong_value(key, expected, node.text, std::to_string(std::clamp(*value, low, high)));
  }
  return *value;
}

double read_number(const std::string& key, const std::string& expected, const YamlNode& node, const Range& range) {
  const std::optional<double> value = is_plain_scalar(node) ? parse_number(node.text) : std::nullopt;
  if (!value) throw wrong_value(key, expected, describe(node));
  if (!range.contains(*value)) throw wrong_value(key, expected, node.text, nearest_in(*value, range));
  return *value;
}

int64_t read_bytes(const std::string& key, const std::string& expected, const YamlNode& node, int64_t low,
                   int64_t high) {
  const std::optional<int64_t> value = is_plain_scalar(node) ? parse_bytes(node.text) : std::nullopt;
  if (!value) throw wrong_value(key, expected, describe(node));
  if (*value < low || *value > high) {
    throw wrong_value(key, expected, node.text, bytes_text(std::clamp(*value, low, high)));
  }
  return *value;
}

double read_seconds(const std::string& key, const std::string& expected, const YamlNode& node, const Range& range) {
  const std::optional<double> value = is_plain_scalar(node) ? parse_seconds(node.text) : std::nullopt;
  if (!value) throw wrong_value(key, expected, describe(node));
  if (!range.contains(*value)) {
    throw wrong_value(key, expected, node.text, seconds_text(std::clamp(*value, range.low, range.high)));
  }
  return *value;
}

bool read_boolean(const std::string& key, const YamlNode& node) {
  if (is_plain_scalar(node) && node.text == "true") return true;
  if (is_plain_scalar(node) && node.text == "false") return false;
  std::string suggestion;
  if (node.kind == YamlNode::Kind::scalar) {
    std::string lower = node.text;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    if (lower == "yes" || lower == "on" || lower == "1" || lower == "true") suggestion = "true";
    if (lower == "no" || lower == "off" || lower == "0" || lower == "false") suggestion = "false";
  }
  throw wrong_value(key, "true or false", describe(node), suggestion);
}

std::string read_text(const std::string& key, const std::string& expected, const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar || node.text.empty()) throw wrong_value(key, expected, describe(node));
  return node.text;
}

size_t read_choice(const std::string& key, const YamlNode& node, const std::vector<std::string>& names) {
  if (node.kind == YamlNode::Kind::scalar) {
    const auto found = std::find(names.begin(), names.end(), node.text);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
  }
  const std::string suggestion = node.kind == YamlNode::Kind::scalar ? nearest_spelling(node.text, names) : "";
  throw wrong_value(key, one_of(names), describe(node), suggestion);
}

std::string integer_range(int64_t low, int64_t high) {
  if (high == std::numeric_limits<int64_t>::max()) return fmt::format("an integer, at least {}", low);
  return fmt::format("an integer in {} … {}", low, high);
}

std::string number_range(const Range& range) {
  if (!std::isfinite(range.high)) return fmt::format("a number {} {}", range.above ? "above" : "from", range.low);
  return fmt::format("a number in {}", bracket(range));
}

std::string one_of(const std::vector<std::string>& names) {
  return names.size() == 1 ? names[0] : fmt::format("one of {}", fmt::join(names, ", "));
}

}  // namespace reprise
