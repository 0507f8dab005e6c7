#pragma once

#include <cstdlib>
#include <string>

namespace reprise {

// A file of tests/training/tokenizers/ (made by make.py there).
inline std::string fixture(const std::string& name) {
  const char* source = std::getenv("REPRISE_SOURCE");
  return (source == nullptr ? std::string(".") : std::string(source)) + "/tests/training/tokenizers/" + name;
}

}  // namespace reprise
