#include "launcher/yaml_source.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace reprise {
namespace {

constexpr size_t kMostBytes = 1 << 20;
constexpr size_t kMostLevels = 32;

// Builds the tree from the parser's events. The events, unlike yaml-cpp's own nodes, still show aliases, merge keys and
// keys given twice.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& source) : source_(source) {}

  YamlNode root;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) fail(mark.line + 1, "expected one document, got a second");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(mark, "?", anchor, Kind::nothing); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark.line + 1, "expected a value, got an alias");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    add(mark, tag, anchor, Kind::scalar, text);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    add(mark, tag, anchor, Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    add(mark, tag, anchor, Kind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  using Kind = YamlNode::Kind;

  // Whether the quoted text that starts at `begin` ends. yaml-cpp takes the rest of the file for an unclosed one.
  bool is_closed(size_t begin) const {
    const size_t quote = source_.find_first_of("\"'", begin);
    if (quote == std::string::npos) return false;
    for (size_t i = quote + 1; i < source_.size(); ++i) {
      const bool doubled = source_[quote] == '\'' && source_.compare(i, 2, "''") == 0;
      if (doubled || (source_[quote] == '"' && source_[i] == '\\')) {
        ++i;
      } else if (source_[i] == source_[quote]) {
        return true;
      }
    }
    return false;
  }

  [[noreturn]] void fail(int line, const std::string& message) const {
    std::string path;  // dotted: the keys whose values are not complete
    for (const YamlNode* level : open_) {
      const bool is_between = level == open_.back() && !has_key_;
      if (is_between || level->items.size() != level->keys.size()) continue;
      path += (path.empty() ? "" : ".") + level->keys.back();
    }
    throw YamlError(line, path, message);
  }

  // A node begins. In a map keys and values take turns; a key makes the place that its value fills.
  void add(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Kind kind,
           const std::string& text = "") {
    const int line = mark.line + 1;
    if (anchor != 0) fail(line, "expected a value, got an anchor");
    const bool is_quoted = tag == "!", opens = kind == Kind::list || kind == Kind::map;
    if (!tag.empty() && tag != "?" && !is_quoted) fail(line, fmt::format("expected a value, got the tag {}", tag));
    if (kind == Kind::scalar && is_quoted && !is_closed(static_cast<size_t>(mark.pos))) {
      fail(line, "expected a closing quote, got the end of the file");
    }
    if (opens && open_.size() == kMostLevels)
      fail(line, fmt::format("expected at most {} levels, got more", kMostLevels));
    const bool is_key = !open_.empty() && open_.back()->kind == Kind::map && !has_key_;
    if (is_key && kind == Kind::nothing) fail(line, "expected a key, got nothing");
    if (is_key && kind == Kind::scalar) return add_key(line, *open_.back(), text);

    YamlNode& node = open_.empty() ? root : has_key_ ? open_.back()->items.back() : open_.back()->items.emplace_back();
    if (!has_key_) node.line = line;
    node.kind = kind;
    node.text = text;
    node.quoted = is_quoted;
    has_key_ = false;
    if (opens) open_.push_back(&node);
  }

  void add_key(int line, YamlNode& map, const std::string& key) {
    map.keys.push_back(key);
    map.items.emplace_back().line = line;
    has_key_ = true;
    if (key == "<<") fail(line, "expected a key, got a merge key");
    const auto first = static_cast<size_t>(std::find(map.keys.begin(), map.keys.end(), key) - map.keys.begin());
    if (first + 1 == map.keys.size()) return;
    fail(line, fmt::format("expected each key once, got it again (first in line {})", map.items[first].line));
  }

  // A list or a map ends. One in the place of a key is refused only here: yaml-cpp takes an unclosed bracket for one.
  void close() {
    const int line = open_.back()->line;
    open_.pop_back();
    const bool was_key =
        !open_.empty() && open_.back()->kind == Kind::map && open_.back()->keys.size() < open_.back()->items.size();
    if (was_key) fail(line, "expected a key, got a list or a map");
  }

  const std::string& source_;
  std::vector<YamlNode*> open_;  // lists and maps that are not complete, each the last item of the one before
  bool has_key_ = false;         // the innermost is a map, and the value of its last key comes next
  int documents_ = 0;
};

// The byte offset of the first character that is no printable UTF-8 text; npos when all is well.
size_t first_bad_byte(const std::string& text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = byte < 0x80 ? 1 : byte >> 5 == 0x6 ? 2 : byte >> 4 == 0xE ? 3 : byte >> 3 == 0x1E ? 4 : 0;
    if (length == 0 || i + length > text.size()) return i;
    if (length == 1 && (byte < 0x20 || byte == 0x7F) && byte != '\t' && byte != '\n' && byte != '\r') return i;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return i;
    }
    i += length;
  }
  return std::string::npos;
}

}  // namespace

YamlNode parse_yaml(const std::string& text) {
  if (text.size() > kMostBytes) throw YamlError(0, "", "expected a configuration of at most 1 MiB, got a larger one");
  const size_t bad = first_bad_byte(text);
  if (bad != std::string::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(bad), '\n');
    throw YamlError(static_cast<int>(line), "",
                    fmt::format("expected UTF-8 text, got the byte 0x{:02x}", static_cast<unsigned char>(text[bad])));
  }
  std::istringstream stream(text);
  TreeBuilder builder(text);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    throw YamlError(error.mark.line + 1, "", fmt::format("expected YAML, got a mistake: {}", error.msg));
  }
  return std::move(builder.root);
}

YamlNode read_yaml_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMostBytes + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad() || (file.fail() && !file.eof())) {
    throw YamlError(0, "", "expected a readable configuration file, got none");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return parse_yaml(text);
}

}  // namespace reprise
