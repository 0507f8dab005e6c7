#include <fmt/format.h>

#include <set>

#include "launcher/config.h"
#include "launcher/config_schema.h"

namespace reprise {

namespace {

// Whether the value of a fresh Config may be written by a user; else it stands for "derived".
bool has_plain_default(const Setting& setting) {
  Config scratch;
  try {
    setting.read(scratch, parse_yaml(setting.write(Config{})));
    return true;
  } catch (const InvalidSetting&) {
    return false;
  }
}

}  // namespace

std::string to_yaml(const Config& config, bool with_origins) {
  std::string yaml;
  std::string section;  // dotted, of the line before
  for (const Setting& setting : config_schema()) {
    size_t start = 0, depth = 0;
    for (size_t dot = setting.key.find('.'); dot != std::string::npos; dot = setting.key.find('.', start)) {
      const std::string here = setting.key.substr(0, dot);
      if (section != here && !section.starts_with(here + ".")) {
        yaml += fmt::format("{:{}}{}:\n", "", 2 * depth, setting.key.substr(start, dot - start));
        section = here;
      }
      start = dot + 1;
      ++depth;
    }
    const std::string line =
        fmt::format("{:{}}{}: {}", "", 2 * depth, setting.key.substr(start), setting.write(config));
    const auto origin = config.origins.find(setting.key);
    const bool has_origin = with_origins && origin != config.origins.end();
    yaml += has_origin ? fmt::format("{:<44}  # {}\n", line, origin->second.text) : line + "\n";
  }
  return yaml;
}

std::map<std::string, std::string> agreement_fields(const Config& config) {
  const std::set<std::string> local = {"run.directory", "data.directory", "monitoring.prometheus.listen"};
  std::map<std::string, std::string> fields;
  for (const Setting& setting : config_schema()) {
    if (!local.contains(setting.key)) fields[setting.key] = setting.write(config);
  }
  return fields;
}

std::string settings_help() {
  std::string help;
  for (const Setting& setting : config_schema()) {
    const std::string value = has_plain_default(setting) ? setting.write(Config{}) : "derived";
    help += fmt::format("  {:<32} {:<12} {}: {}\n", setting.key, value, setting.meaning, setting.expected);
  }
  return help;
}

}  // namespace reprise
