#pragma once

#include <stdexcept>
#include <string>

namespace reprise {

// A setting that the user can mend. `key` is the dotted configuration key ("model.heads"); the message says what was
// expected, what was got and the nearest legal value. The launcher adds file and line and exits with 78.
class InvalidSetting : public std::invalid_argument {
 public:
  InvalidSetting(std::string setting_key, const std::string& message)
      : std::invalid_argument(message), key_(std::move(setting_key)) {}
  const std::string& key() const { return key_; }

 private:
  std::string key_;
};

}  // namespace reprise
