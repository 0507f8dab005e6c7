#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace reprise {

// An object of named values, in their order: JSON_FIELDS(report.step, report.loss) is {"step": …, "loss": …}.
#define JSON_FIELDS(...) json_fields(#__VA_ARGS__, __VA_ARGS__)

// `names`: the expressions of the values; a member's own name counts.
template <class... Values>
nlohmann::ordered_json json_fields(std::string_view names, const Values&... values) {
  nlohmann::ordered_json object;
  const auto add = [&](const auto& value) {
    const std::string_view name = names.substr(0, names.find(','));
    object[std::string(name.substr(name.find_last_of(".>") + 1))] = value;
    names.remove_prefix(std::min(names.size(), name.size() + 2));
  };
  (add(values), ...);
  return object;
}

// On one line; bytes that are not UTF-8 become replacement characters.
inline std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace reprise
