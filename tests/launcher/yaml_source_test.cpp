#include "launcher/yaml_source.h"

#include <gtest/gtest.h>

namespace reprise {
namespace {

using Kind = YamlNode::Kind;

void expect_error(const std::string& text, int line, const std::string& key, const std::string& part) {
  SCOPED_TRACE(text.substr(0, 60));
  try {
    parse_yaml(text);
    ADD_FAILURE() << "accepted";
  } catch (const YamlError& error) {
    EXPECT_EQ(error.line, line) << error.what();
    EXPECT_EQ(error.key, key) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
  }
}

std::string nested(int levels) {
  return std::string(static_cast<size_t>(levels), '[') + std::string(static_cast<size_t>(levels), ']');
}

TEST(YamlSource, KeepsOrderLinesAndQuotes) {
  const YamlNode root = parse_yaml("# a comment\nmodel:\n  layers: 4\n  name: \"4\"\n\nlist: [1, {a: b}]\nempty:\n");
  ASSERT_EQ(root.kind, Kind::map);
  EXPECT_EQ(root.keys, (std::vector<std::string>{"model", "list", "empty"}));
  EXPECT_EQ(root.items[0].line, 2);
  EXPECT_EQ(root.items[0].items[0].text, "4");
  EXPECT_EQ(root.items[0].items[0].line, 3);
  EXPECT_FALSE(root.items[0].items[0].quoted);
  EXPECT_TRUE(root.items[0].items[1].quoted);
  ASSERT_EQ(root.items[1].kind, Kind::list);
  EXPECT_EQ(root.items[1].items[1].keys[0], "a");
  EXPECT_EQ(root.items[2].kind, Kind::nothing);
  EXPECT_EQ(root.items[2].line, 7);
}

TEST(YamlSource, NothingIsADocumentToo) {
  EXPECT_EQ(parse_yaml("").kind, Kind::nothing);
  EXPECT_EQ(parse_yaml("# only a comment\n").kind, Kind::nothing);
}

TEST(YamlSource, RefusesWhatHidesValues) {
  expect_error("a: 1\nb: 2\na: 3\n", 3, "a", "first in line 1");
  expect_error("m:\n  a: 1\n  a: 1\n", 3, "m.a", "once");
  expect_error("a: &x 1\nb: *x\n", 1, "a", "anchor");
  expect_error("a: &x {b: 1}\n", 1, "a", "anchor");
  expect_error("a: &x [1]\n", 1, "a", "anchor");
  expect_error("m:\n  <<: {a: 1}\n", 2, "m.<<", "merge key");
  expect_error("a: !!int 3\n", 1, "a", "tag");
  expect_error("{a: 1}: 2\n", 1, "", "key");
  expect_error("a: 1\n---\nb: 2\n", 2, "", "one document");
}

TEST(YamlSource, RefusesAQuoteThatIsNeverClosed) {
  const std::string rest = "\nmodel: {layers: 2}\n";
  expect_error("a: \"open" + rest, 1, "a", "closing quote");
  expect_error("é: 1  # \"é\"\r\na: 'open" + rest, 2, "a", "closing quote");
  expect_error("a: \"open\\\"" + rest, 1, "a", "closing quote");
  expect_error("a: 'open''" + rest, 1, "a", "closing quote");
  expect_error("m: {a: \"1\", b: \"open" + rest, 1, "m.b", "closing quote");
}

TEST(YamlSource, AcceptsQuotesThatAreClosed) {
  const YamlNode root = parse_yaml("é: \"it's\"\r\nb: 'say \"x\" it''s'\nc: \"two\n  lines \\\"\\\\\"\nd: ''\n");
  std::vector<std::string> texts;
  for (const YamlNode& item : root.items) texts.push_back(item.text);
  EXPECT_EQ(texts, (std::vector<std::string>{"it's", "say \"x\" it's", "two lines \"\\", ""}));
}

TEST(YamlSource, RefusesWhatIsNoConfiguration) {
  expect_error("a: [1, 2\n", 2, "", "YAML");
  expect_error("a: 1\n b: 2\n", 2, "", "YAML");
  expect_error("a:\n\t- 1\n", 2, "", "YAML");
  expect_error(std::string("a: 1\nb: \0\n", 10), 2, "", "0x00");
  expect_error("a: \xff\xfe\n", 1, "", "UTF-8");
  expect_error("a: \xe2\x82", 1, "", "UTF-8");
  expect_error(
      "\x7f"
      "ELF",
      1, "", "0x7f");
  expect_error(std::string((1 << 20) + 1, '#'), 0, "", "1 MiB");
}

TEST(YamlSource, LimitsTheDepth) {
  EXPECT_EQ(parse_yaml(nested(32)).kind, Kind::list);
  expect_error(nested(33), 1, "", "32 levels");
  expect_error(std::string(100'000, '['), 1, "", "32 levels");
}

TEST(YamlSource, MissingFile) {
  EXPECT_THROW(read_yaml_file("/nowhere/config.yaml"), YamlError);
  EXPECT_THROW(read_yaml_file("/"), YamlError);
}

}  // namespace
}  // namespace reprise
