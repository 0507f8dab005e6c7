#include "launcher/units.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace reprise {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit kByteUnits[] = {{"TiB", 0x1p40}, {"GiB", 0x1p30}, {"MiB", 0x1p20}, {"KiB", 0x1p10}, {"TB", 1e12},
                               {"GB", 1e9},     {"MB", 1e6},     {"KB", 1e3},     {"kB", 1e3},     {"B", 1}};
constexpr Unit kSecondUnits[] = {{"min", 60}, {"ms", 1e-3}, {"us", 1e-6}, {"h", 3600}, {"s", 1}};

// The number times the factor of the unit that ends the text; without a unit, the number.
template <size_t n>
std::optional<double> parse_with_unit(std::string_view text, const Unit (&units)[n]) {
  double factor = 1;
  for (const Unit& unit : units) {
    if (!text.ends_with(unit.name)) continue;
    text.remove_suffix(unit.name.size());
    if (text.ends_with(' ')) text.remove_suffix(1);
    factor = unit.factor;
    break;
  }
  const std::optional<double> number = parse_number(text);
  if (!number || *number < 0) return std::nullopt;
  return *number * factor;
}

template <class T>
std::optional<T> parse_whole(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<double> parse_number(std::string_view text) {
  const std::optional<double> value = parse_whole<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::optional<int64_t> parse_integer(std::string_view text) { return parse_whole<int64_t>(text); }

std::optional<int64_t> parse_bytes(std::string_view text) {
  if (const std::optional<int64_t> plain = parse_integer(text)) return *plain < 0 ? std::nullopt : plain;
  const std::optional<double> value = parse_with_unit(text, kByteUnits);
  if (!value || *value >= 0x1p62 || (*value < 1 && *value != 0)) return std::nullopt;
  return static_cast<int64_t>(*value);
}

std::optional<double> parse_seconds(std::string_view text) {
  const std::optional<double> value = parse_with_unit(text, kSecondUnits);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::optional<double> parse_percent(std::string_view text) {
  if (!text.ends_with('%')) return std::nullopt;
  text.remove_suffix(1);
  const std::optional<double> value = parse_number(text);
  if (!value || *value <= 0 || *value > 100) return std::nullopt;
  return *value / 100;
}

std::string bytes_text(int64_t bytes) {
  for (const Unit& unit : kByteUnits) {
    const auto factor = static_cast<int64_t>(unit.factor);
    const bool binary = unit.name.ends_with("iB");
    if (binary && bytes > 0 && bytes % factor == 0) return fmt::format("{}{}", bytes / factor, unit.name);
  }
  return fmt::format("{}", bytes);
}

std::string seconds_text(double seconds) { return number_text(seconds) + "s"; }

std::string number_text(double value) { return fmt::format("{}", value); }

}  // namespace reprise
