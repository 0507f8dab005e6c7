#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace reprise {

// "123", "64KiB", "1.5 GiB", "1MB": binary and decimal units, whole bytes, nothing negative. Empty on anything else.
std::optional<int64_t> parse_bytes(std::string_view text);

// "30s", "500ms", "2min", "1h"; a plain number means seconds. Not negative, finite. Empty on anything else.
std::optional<double> parse_seconds(std::string_view text);

// "90%" → 0.9. Empty on anything else, above 100% and at 0% too.
std::optional<double> parse_percent(std::string_view text);

// The whole text as a number; no trailing characters, no infinities.
std::optional<double> parse_number(std::string_view text);
std::optional<int64_t> parse_integer(std::string_view text);

// Exact: parse_bytes(bytes_text(n)) == n, in the largest binary unit that divides n. Likewise for seconds.
std::string bytes_text(int64_t bytes);
std::string seconds_text(double seconds);
std::string number_text(double value);  // the shortest text that reads back to the same bits

}  // namespace reprise
