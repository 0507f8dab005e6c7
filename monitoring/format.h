#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace reprise {

// Numbers for people: one decimal, the unit chosen after rounding (never "1024.0 KiB"), any magnitude.
std::string format_bytes(double bytes);      // "25.0 MiB"; below 0: "0 B"
std::string format_seconds(double seconds);  // "1.2 ms", "3.4 s", "2 min 5 s", "3 h 7 min"
std::string format_count(double count);      // "12.3M"; below a thousand three significant digits, "7.25"

std::string format_counts(const std::map<std::string, int64_t>& counts);  // "1 overflow, 2 spike"

double unix_seconds();  // since 1970, to the microsecond

// The number of characters (code points) of valid UTF-8.
int64_t text_length(const std::string& text);
std::string cut_text(const std::string& text, int64_t length);  // its first `length` characters

// For XML and HTML, inside an attribute's quotes too; control characters become blanks.
std::string escape_markup(const std::string& text);

}  // namespace reprise
