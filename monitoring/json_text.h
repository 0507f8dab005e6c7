#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace reprise {

// A file that this folder reads is damaged; names it and the line. Exit code 65.
struct DamagedFile : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// For a call of the system that set errno: what was tried, and the path.
[[noreturn]] inline void throw_system_error(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// An object of named values, in their order: JSON_FIELDS(report.step, report.loss) is {"step": …, "loss": …}.
// The expressions may come from a macro, a list that is written and read alike.
#define JSON_FIELDS(...) JSON_FIELDS_EXPANDED(__VA_ARGS__)
#define JSON_FIELDS_EXPANDED(...) json_fields(#__VA_ARGS__, __VA_ARGS__)

// The reverse: READ_JSON_FIELDS(object, report.step, report.loss). A member that is absent leaves its value as it is, a
// number may be what "NaN", "Infinity" or "-Infinity" says. Throws nlohmann::json::exception on another type.
#define READ_JSON_FIELDS(object, ...) READ_JSON_FIELDS_EXPANDED(object, __VA_ARGS__)
#define READ_JSON_FIELDS_EXPANDED(object, ...) read_json_fields(object, #__VA_ARGS__, __VA_ARGS__)

// The next of the expressions in `names`, whose own name counts as a member's; takes it off.
inline std::string next_json_name(std::string_view& names) {
  const std::string_view name = names.substr(0, names.find(','));
  names.remove_prefix(std::min(names.size(), name.size() + 2));
  return std::string(name.substr(name.find_last_of(".>") + 1));
}

template <class... Values>
nlohmann::ordered_json json_fields(std::string_view names, const Values&... values) {
  nlohmann::ordered_json object;
  ((object[next_json_name(names)] = values), ...);
  return object;
}

template <class... Values>
void read_json_fields(const nlohmann::json& object, std::string_view names, Values&... values) {
  const auto read = [&]<class Value>(Value& value) {
    const auto found = object.find(next_json_name(names));
    if (found == object.end()) return;
    if constexpr (std::is_same_v<Value, double>) {
      const char* const text = found->is_string() ? found->template get_ref<const std::string&>().c_str() : "";
      char* end = nullptr;
      const double number = std::strtod(text, &end);
      if (end != text && *end == '\0') return void(value = number);
    }
    found->get_to(value);
  };
  (read(values), ...);
}

// On one line; bytes that are not UTF-8 become replacement characters.
inline std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace reprise
