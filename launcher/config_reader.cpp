#include "launcher/config_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/config_schema.h"
#include "launcher/spelling.h"

namespace reprise {

namespace {

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

std::string error_line(const std::string& place, const std::string& key, const std::string& message) {
  return key.empty() ? fmt::format("{}: {}", place, message) : fmt::format("{} {}: {}", place, key, message);
}

}  // namespace

ConfigReader::ConfigReader(Config& config) : config_(config), schema_(config_schema()), sections_{"", "snapshot"} {
  for (const Setting& setting : schema_) {
    keys_.push_back(setting.key);
    for (size_t dot = setting.key.find('.'); dot != std::string::npos; dot = setting.key.find('.', dot + 1)) {
      const std::string section = setting.key.substr(0, dot);
      if (!contains(sections_, section)) sections_.push_back(section);
    }
  }
}

void ConfigReader::read_file(const std::string& path) {
  config_.source = path;
  const Place place = [&path](int line) { return line == 0 ? path : fmt::format("{}:{}", path, line); };
  try {
    apply("", read_yaml_file(path), place);
  } catch (const YamlError& error) {
    throw ConfigError(error_line(place(error.line), error.key, error.what()));
  }
}

void ConfigReader::read_override(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw ConfigError(fmt::format("command line: expected key.sub=value, got {}", text));
  }
  const std::string key = text.substr(0, equals);
  const Place place = [](int) { return std::string("command line"); };
  try {
    apply(key, parse_yaml(text.substr(equals + 1)), place);
  } catch (const YamlError& error) {
    throw ConfigError(error_line(place(0), key, error.what()));
  }
}

void ConfigReader::apply(const std::string& key, const YamlNode& node, const Place& place) {
  if (contains(sections_, key)) {
    apply_section(key, node, place);
    return;
  }
  try {
    const auto found = std::find(keys_.begin(), keys_.end(), key);
    if (found == keys_.end()) throw unknown(key);
    schema_[static_cast<size_t>(found - keys_.begin())].read(config_, node);
  } catch (const InvalidSetting& error) {
    throw ConfigError(error_line(place(node.line), error.key(), error.what()));
  }
  config_.origins[key] = {place(node.line)};
}

void ConfigReader::apply_section(const std::string& key, const YamlNode& node, const Place& place) {
  config_.origins[key] = {place(node.line)};
  if (node.kind == YamlNode::Kind::nothing) return;
  if (node.kind != YamlNode::Kind::map) {
    throw ConfigError(error_line(place(node.line), key, fmt::format("expected a map of keys, got {}", describe(node))));
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    const std::string child = key.empty() ? node.keys[i] : key + "." + node.keys[i];
    if (node.keys[i].find('.') != std::string::npos) {  // "model.layers: 4" is one key, not two levels
      throw ConfigError(error_line(place(node.items[i].line), child, unknown(child).what()));
    }
    apply(child, node.items[i], place);
  }
}

// The names directly inside a section.
std::vector<std::string> ConfigReader::names_in(const std::string& section) const {
  std::vector<std::string> names;
  const size_t skip = section.empty() ? 0 : section.size() + 1;
  for (const std::vector<std::string>* list : {&keys_, &sections_}) {
    for (const std::string& key : *list) {
      if (key.size() <= skip || !key.starts_with(section) || (skip > 0 && key[skip - 1] != '.')) continue;
      if (key.find('.', skip) == std::string::npos) names.push_back(key.substr(skip));
    }
  }
  return names;
}

InvalidSetting ConfigReader::unknown(const std::string& key) const {
  const size_t dot = key.rfind('.');
  std::string section = dot == std::string::npos ? "" : key.substr(0, dot);
  if (!contains(sections_, section)) section.clear();
  const std::vector<std::string> names = names_in(section);
  std::vector<std::string> candidates = keys_;
  candidates.insert(candidates.end(), sections_.begin() + 1, sections_.end());
  return wrong_value(key, names.empty() ? "no key here" : one_of(names), "an unknown key",
                     nearest_key(key, candidates));
}

}  // namespace reprise
