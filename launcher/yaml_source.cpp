#include "launcher/yaml_source.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <optional>
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
    if (documents_++ > 0) fail(mark, "expected one document, got a second");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_marks(mark, "?", anchor);
    add(mark, YamlNode{});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { fail(mark, "expected a value, got an alias"); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    refuse_marks(mark, tag, anchor);
    YamlNode node;
    node.kind = YamlNode::Kind::scalar;
    node.text = text;
    node.quoted = tag == "!";
    if (node.quoted && !is_closed(static_cast<size_t>(mark.pos))) {
      fail(mark, "expected a closing quote, got the end of the file");
    }
    add(mark, std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    std::optional<std::string> key;  // of a map whose value comes next
    int key_line = 0;
  };

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

  std::string path() const {
    std::string dotted;
    for (const Open& level : open_) {
      if (level.key) dotted += (dotted.empty() ? "" : ".") + *level.key;
    }
    return dotted;
  }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    throw YamlError(mark.line + 1, path(), message);
  }

  void refuse_marks(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != 0) fail(mark, "expected a value, got an anchor");
    if (!tag.empty() && tag != "?" && tag != "!") fail(mark, fmt::format("expected a value, got the tag {}", tag));
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    refuse_marks(mark, tag, anchor);
    if (open_.size() == kMostLevels) fail(mark, fmt::format("expected at most {} levels, got more", kMostLevels));
    Open level;
    level.node.kind = kind;
    level.node.line = mark.line + 1;
    open_.push_back(std::move(level));
  }

  void close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    put(std::move(node));
  }

  void add(const YAML::Mark& mark, YamlNode node) {
    node.line = mark.line + 1;
    const bool is_key = !open_.empty() && open_.back().node.kind == YamlNode::Kind::map && !open_.back().key;
    if (is_key) {
      take_key(mark, node);
    } else {
      put(std::move(node));
    }
  }

  void take_key(const YAML::Mark& mark, const YamlNode& node) {
    Open& map = open_.back();
    if (node.kind != YamlNode::Kind::scalar) fail(mark, "expected a key, got nothing");
    const auto earlier = std::find(map.node.keys.begin(), map.node.keys.end(), node.text);
    map.key = node.text;
    map.key_line = mark.line + 1;
    if (node.text == "<<") fail(mark, "expected a key, got a merge key");
    if (earlier == map.node.keys.end()) return;
    const int line = map.node.items[static_cast<size_t>(earlier - map.node.keys.begin())].line;
    fail(mark, fmt::format("expected each key once, got it again (first in line {})", line));
  }

  void put(YamlNode node) {
    if (open_.empty()) {
      root = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::map) {
      if (!parent.key) throw YamlError(node.line, path(), "expected a key, got a list or a map");
      node.line = parent.key_line;
      parent.node.keys.push_back(std::move(*parent.key));
      parent.key.reset();
    }
    parent.node.items.push_back(std::move(node));
  }

  const std::string& source_;
  std::vector<Open> open_;
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
