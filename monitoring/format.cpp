#include "monitoring/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace reprise {
namespace {

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// In the first of the units, each `step` of the one before, that leaves less than a step after rounding; else the last.
std::string in_units(double value, double step, const std::vector<const char*>& units) {
  size_t unit = 0;
  for (value /= step; value >= step - 0.05 && unit + 1 < units.size(); ++unit) value /= step;
  return fmt::format("{:.1f}{}", value, units[unit]);
}

// Two neighbouring units of a duration, the total rounded to the smaller one.
std::string two_units(double seconds, double smaller, int64_t smaller_per_larger, const char* larger_name,
                      const char* smaller_name) {
  const auto total = static_cast<int64_t>(std::llround(seconds / smaller));
  return fmt::format("{} {} {} {}", total / smaller_per_larger, larger_name, total % smaller_per_larger, smaller_name);
}

}  // namespace

std::string format_bytes(double bytes) {
  if (!(bytes >= 1024)) return fmt::format("{:.0f} B", std::max(0.0, std::floor(bytes)));
  return in_units(bytes, 1024, {" KiB", " MiB", " GiB", " TiB", " PiB", " EiB"});
}

std::string format_seconds(double seconds) {
  if (std::isnan(seconds) || std::isinf(seconds)) return fmt::format("{} s", seconds);
  if (seconds < 0) return "-" + format_seconds(-seconds);
  if (seconds == 0) return "0 s";
  if (seconds < 0.99995e-6) return fmt::format("{:.1f} ns", seconds * 1e9);
  if (seconds < 0.99995e-3) return fmt::format("{:.1f} µs", seconds * 1e6);
  if (seconds < 0.99995) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  if (seconds < 3599.5) return two_units(seconds, 1, 60, "min", "s");
  if (seconds < 86400 - 30) return two_units(seconds, 60, 60, "h", "min");
  if (seconds < 86400e6) return two_units(seconds, 3600, 24, "d", "h");
  return fmt::format("{:.3g} d", seconds / 86400);
}

std::string format_count(double count) {
  if (count < 0) return "-" + format_count(-count);
  if (!(count >= 999.5)) return fmt::format("{:.3g}", count);
  return in_units(count, 1000, {"k", "M", "G", "T", "P"});
}

double unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(now).count()) * 1e-6;
}

int64_t text_length(const std::string& text) { return std::count_if(text.begin(), text.end(), starts_character); }

std::string cut_text(const std::string& text, int64_t length) {
  size_t end = 0;
  for (int64_t seen = 0; end < text.size(); ++end) {
    if (starts_character(text[end]) && seen++ == length) break;
  }
  return text.substr(0, end);
}

std::string format_counts(const std::map<std::string, int64_t>& counts) {
  std::string out;
  for (const auto& [name, count] : counts) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", count, name);
  return out;
}

std::string escape_markup(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool is_markup = c == '&' || c == '<' || c == '>' || c == '"';
    const bool is_control = static_cast<unsigned char>(c) < 0x20;  // XML has none
    out += is_markup ? fmt::format("&#{};", static_cast<int>(c)) : std::string(1, is_control ? ' ' : c);
  }
  return out;
}

}  // namespace reprise
