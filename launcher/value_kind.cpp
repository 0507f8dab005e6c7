#include "launcher/value_kind.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <limits>

#include "monitoring/json_text.h"

namespace reprise {
namespace {

bool is_plain_scalar(const YamlNode& node) { return node.kind == YamlNode::Kind::scalar && !node.quoted; }

// Values that `parse` reads and `text` writes, within a range whose included end is the suggestion beyond it.
template <class T>
ValueKind<T> bounded(std::string expected, std::optional<T> (*parse)(std::string_view), std::string (*text)(T),
                     Range<T> range, std::optional<T> automatic = {}) {
  if (automatic) expected += ", or auto";
  const auto read = [=](const std::string& key, const YamlNode& node) {
    if (automatic && is_plain_scalar(node) && node.text == "auto") return *automatic;
    const std::optional<T> value = is_plain_scalar(node) ? parse(node.text) : std::nullopt;
    if (!value) throw wrong_value(key, expected, describe(node));
    if (range.above ? *value <= range.low : *value < range.low) {
      throw wrong_value(key, expected, node.text, range.above ? "" : text(range.low));
    }
    if (range.below ? *value >= range.high : *value > range.high) {
      throw wrong_value(key, expected, node.text, range.below ? "" : text(range.high));
    }
    return *value;
  };
  return {expected, read, [=](const T& value) { return value == automatic ? "auto" : text(value); }};
}

// Quoted where YAML would read something else.
std::string yaml_text(const std::string& text) {
  const auto is_safe = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::string_view("_/.-").find(c) != std::string::npos;
  };
  const bool is_word = !text.empty() && std::all_of(text.begin(), text.end(), is_safe) &&
                       (std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '/' || text[0] == '_');
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::string_view taken[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};  // in YAML 1.1
  if (is_word && std::ranges::find(taken, lower) == std::end(taken)) return text;
  return json_text(text);
}

}  // namespace

std::string describe(const YamlNode& node) {
  constexpr size_t kMostShown = 60;
  if (node.kind == YamlNode::Kind::nothing) return "nothing";
  if (node.kind != YamlNode::Kind::scalar) return node.kind == YamlNode::Kind::list ? "a list" : "a map";
  // Escapes line breaks, so that the message stays one line; a cut may fall into a character, hence `replace`.
  std::string shown = json_text(node.text.substr(0, kMostShown));
  if (node.text.size() > kMostShown) shown.insert(shown.size() - 1, "…");
  if (!node.quoted && shown.size() == node.text.size() + 2 && !node.text.empty()) return node.text;
  return "the text " + shown;
}

ValueKind<int64_t> integer(int64_t low, int64_t high, std::optional<int64_t> automatic) {
  const bool has_limit = high != std::numeric_limits<int64_t>::max();
  return bounded<int64_t>(
      has_limit ? fmt::format("an integer in {} … {}", low, high) : fmt::format("an integer, at least {}", low),
      parse_integer, std::to_string, {low, high}, automatic);
}

ValueKind<int64_t> byte_count(int64_t low, int64_t high, std::optional<int64_t> automatic) {
  return bounded<int64_t>(fmt::format("bytes such as 25MiB, from {} to {}", bytes_text(low), bytes_text(high)),
                          parse_bytes, bytes_text, {low, high}, automatic);
}

ValueKind<double> number(Range<double> range) {
  const std::string expected = std::isfinite(range.high)
                                   ? fmt::format("a number in {}{}, {}{}", range.above ? '(' : '[', range.low,
                                                 range.high, range.below ? ')' : ']')
                                   : fmt::format("a number {} {}", range.above ? "above" : "from", range.low);
  return bounded<double>(expected, parse_number, number_text, range);
}

ValueKind<double> duration(double low, double high) {
  return bounded<double>(fmt::format("a duration such as 30s, from {} to {}", seconds_text(low), seconds_text(high)),
                         parse_seconds, seconds_text, {low, high});
}

ValueKind<bool> true_or_false() {
  const auto read = [](const std::string& key, const YamlNode& node) {
    if (is_plain_scalar(node) && (node.text == "true" || node.text == "false")) return node.text == "true";
    std::string word = node.kind == YamlNode::Kind::scalar ? node.text : "", suggestion;
    std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
    if (word == "yes" || word == "on" || word == "1" || word == "true") suggestion = "true";
    if (word == "no" || word == "off" || word == "0" || word == "false") suggestion = "false";
    throw wrong_value(key, "true or false", describe(node), suggestion);
  };
  return {"true or false", read, [](bool value) { return value ? "true" : "false"; }};
}

ValueKind<std::string> text(std::string expected) {
  const auto read = [=](const std::string& key, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::scalar || node.text.empty()) throw wrong_value(key, expected, describe(node));
    return node.text;
  };
  return {std::move(expected), read, yaml_text};
}

ValueKind<std::string> budget() {
  const std::string expected = "bytes such as 3GiB, or a share of the memory such as 90%";
  const auto read = [=](const std::string& key, const YamlNode& node) {
    const bool is_budget = is_plain_scalar(node) && (parse_bytes(node.text) || parse_percent(node.text));
    if (!is_budget) throw wrong_value(key, expected, describe(node));
    return node.text;
  };
  return {expected, read, [](const std::string& value) { return value; }};
}

ValueKind<std::string> name(std::vector<std::string> names) {
  const auto read = [=](const std::string& key, const YamlNode& node) {
    const bool is_scalar = node.kind == YamlNode::Kind::scalar;
    if (is_scalar && std::ranges::find(names, node.text) != names.end()) return node.text;
    throw wrong_value(key, one_of(names), describe(node), is_scalar ? nearest_spelling(node.text, names) : "");
  };
  return {one_of(names), read, yaml_text};
}

std::string one_of(const std::vector<std::string>& names) {
  return names.size() == 1 ? names[0] : fmt::format("one of {}", fmt::join(names, ", "));
}

}  // namespace reprise
