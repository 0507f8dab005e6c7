#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launcher/config.h"
#include "launcher/yaml_source.h"

namespace reprise {

// One key of the configuration: what is legal there and how its value gets in and out of a Config.
struct Setting {
  std::string key;                                     // dotted
  std::string expected;                                // "an integer in 1 … 1000"
  std::string meaning;                                 // one line for people
  std::function<void(Config&, const YamlNode&)> read;  // throws InvalidSetting
  std::function<std::string(const Config&)> write;     // YAML that reads back to the same value
};

// All keys, in the order in which a configuration is written. Names are a protocol. A policy's value stands under the
// key of the policy's own name.
std::vector<Setting> config_schema();

}  // namespace reprise
