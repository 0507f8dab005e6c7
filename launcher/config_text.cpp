// How a configuration is read from YAML, key by key, and written as YAML and as text.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "launcher/config_schema.h"
#include "launcher/value_kind.h"

namespace reprise {
namespace {

// The table of keys and the sections that they make; "" is the whole file.
struct Schema {
  std::vector<Setting> settings = config_schema();
  std::vector<std::string> keys, sections = {""};

  Schema() {
    for (const Setting& setting : settings) {
      keys.push_back(setting.key);
      for (size_t dot = setting.key.find('.'); dot != std::string::npos; dot = setting.key.find('.', dot + 1)) {
        const std::string section = setting.key.substr(0, dot);
        if (!is_section(section)) sections.push_back(section);
      }
    }
  }

  bool is_section(const std::string& key) const { return std::ranges::find(sections, key) != sections.end(); }

  InvalidSetting unknown(const std::string& key) const {
    std::string section = key.substr(0, key.find('.') == std::string::npos ? 0 : key.rfind('.'));
    if (!is_section(section)) section.clear();
    const std::string start = section.empty() ? "" : section + ".";
    std::vector<std::string> candidates = keys, names;  // names: directly inside the section
    candidates.insert(candidates.end(), sections.begin() + 1, sections.end());
    for (const std::string& candidate : candidates) {
      const bool is_inside = candidate.starts_with(start) && candidate.find('.', start.size()) == std::string::npos;
      if (is_inside) names.push_back(candidate.substr(start.size()));
    }
    return wrong_value(key, names.empty() ? "no key here" : one_of(names), "an unknown key",
                       nearest_key(key, candidates));
  }
};

// Puts values into a Config and notes where each came from. Throws ConfigError with that place.
class Reader {
 public:
  Reader(Config& config, std::string file) : config_(config), file_(std::move(file)) {}

  void read(const std::string& key, const std::function<YamlNode()>& parse) const {
    try {
      apply(key, parse());
    } catch (const YamlError& error) {
      throw failure(error.line, key.empty() ? error.key : key, error.what());
    }
  }

 private:
  std::string place(int line) const {
    if (file_.empty()) return kCommandLine;
    return line == 0 ? file_ : fmt::format("{}:{}", file_, line);
  }

  ConfigError failure(int line, const std::string& key, const std::string& message) const {
    return ConfigError(fmt::format("{}{}{}: {}", place(line), key.empty() ? "" : " ", key, message));
  }

  void apply(const std::string& key, const YamlNode& node) const {
    config_.origins[key] = place(node.line);
    if (schema_.is_section(key)) return apply_section(key, node);
    try {
      const auto found = std::ranges::find(schema_.settings, key, &Setting::key);
      if (found == schema_.settings.end()) throw schema_.unknown(key);
      found->read(config_, node);
    } catch (const InvalidSetting& error) {
      throw failure(node.line, error.key(), error.what());
    }
  }

  void apply_section(const std::string& key, const YamlNode& node) const {
    if (node.kind == YamlNode::Kind::nothing) return;
    if (node.kind != YamlNode::Kind::map) {
      throw failure(node.line, key, fmt::format("expected a map of keys, got {}", describe(node)));
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      const std::string child = key.empty() ? node.keys[i] : key + "." + node.keys[i];
      if (node.keys[i].find('.') != std::string::npos) {  // "model.layers: 4" is one key, not two levels
        throw failure(node.items[i].line, child, schema_.unknown(child).what());
      }
      apply(child, node.items[i]);
    }
  }

  Config& config_;
  const std::string file_;
  const Schema schema_;
};

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

void read_config_file(Config& config, const std::string& path) {
  config.source = path;
  Reader(config, path).read("", [&] { return read_yaml_file(path); });
}

void read_override(Config& config, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw ConfigError(fmt::format("command line: expected key.sub=value, got {}", text));
  }
  Reader(config, "").read(text.substr(0, equals), [&] { return parse_yaml(text.substr(equals + 1)); });
}

std::string to_yaml(const Config& config, bool with_origins) {
  std::string yaml, before;  // before: the key of the line before
  for (const Setting& setting : config_schema()) {
    const std::string& key = setting.key;
    std::string indent;
    size_t start = 0;
    for (size_t dot; (dot = key.find('.', start)) != std::string::npos; start = dot + 1, indent += "  ") {
      if (!before.starts_with(key.substr(0, dot + 1))) yaml += indent + key.substr(start, dot - start) + ":\n";
    }
    const std::string line = indent + key.substr(start) + ": " + setting.write(config);
    const auto origin = config.origins.find(key);
    const bool has_origin = with_origins && origin != config.origins.end();
    yaml += has_origin ? fmt::format("{:<44}  # {}\n", line, origin->second) : line + "\n";
    before = key;
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
