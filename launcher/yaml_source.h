#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace reprise {

// A node of a YAML document. Lines count from 1; a map's value carries the line of its key.
struct YamlNode {
  enum class Kind { nothing, scalar, list, map };
  Kind kind = Kind::nothing;
  int line = 1;
  std::string text;  // of a scalar
  bool quoted = false;
  std::vector<std::string> keys;  // of a map: the key of each item
  std::vector<YamlNode> items;    // of a list or a map
};

// What is wrong with the text itself, before any key is looked at. `key`: dotted, where one was found; else empty.
struct YamlError : std::runtime_error {
  YamlError(int at_line, std::string at_key, const std::string& message)
      : std::runtime_error(message), line(at_line), key(std::move(at_key)) {}
  const int line;  // 0: the whole file
  const std::string key;
};

// Parses one document; an empty one is `nothing`. Refused: a key given twice, aliases, anchors, merge keys, tags, keys
// that are no scalars, a second document, nesting over 32 levels, text that is not UTF-8 or over 1 MiB. Throws
// YamlError.
YamlNode parse_yaml(const std::string& text);
YamlNode read_yaml_file(const std::string& path);

}  // namespace reprise
