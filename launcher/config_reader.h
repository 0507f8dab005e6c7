#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launcher/config.h"
#include "launcher/setting.h"
#include "launcher/yaml_source.h"

namespace reprise {

// Puts values into a Config key by key and notes where each came from. Throws ConfigError with that place.
class ConfigReader {
 public:
  explicit ConfigReader(Config& config);
  void read_file(const std::string& path);
  void read_override(const std::string& text);  // "key.sub=value"

 private:
  using Place = std::function<std::string(int line)>;
  void apply(const std::string& key, const YamlNode& node, const Place& place);
  void apply_section(const std::string& key, const YamlNode& node, const Place& place);
  InvalidSetting unknown(const std::string& key) const;
  std::vector<std::string> names_in(const std::string& section) const;

  Config& config_;
  const std::vector<Setting> schema_;
  std::vector<std::string> keys_, sections_;  // sections: "" is the whole file
};

}  // namespace reprise
