#include "training/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/scratch.h"
#include "tests/training/tokenizers.h"
#include "training/errors.h"

namespace reprise {
namespace {

using Json = nlohmann::json;

std::vector<int64_t> signed_of(const std::vector<uint32_t>& tokens) { return {tokens.begin(), tokens.end()}; }

TEST(ByteTokenizer, EveryByteIsItsOwnTokenAndComesBack) {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  const Tokenizer tokenizer("bytes");
  EXPECT_EQ(tokenizer.vocabulary(), 257);
  EXPECT_EQ(tokenizer.end_of_document(), 256);
  const std::vector<uint32_t> tokens = tokenizer.encode(text);
  ASSERT_EQ(tokens.size(), 256u);
  for (uint32_t i = 0; i < 256; ++i) EXPECT_EQ(tokens[i], i);
  EXPECT_EQ(tokenizer.decode(signed_of(tokens)), text);
}

TEST(ByteTokenizer, TheEndOfADocumentHasNoText) {
  const Tokenizer tokenizer("bytes");
  EXPECT_EQ(tokenizer.decode({'a', 256, 'b'}), "ab");
}

TEST(ByteTokenizer, RefusesTokensOutsideTheVocabulary) {
  const Tokenizer tokenizer("bytes");
  EXPECT_THROW(tokenizer.decode({257}), DataError);
  EXPECT_THROW(tokenizer.decode({-1}), DataError);
}

TEST(Tokenizer, RefusesAnUnknownName) {
  EXPECT_TRUE(has(message_of<DataError>([] { Tokenizer("words"); }), "unknown tokenizer 'words'"));
  EXPECT_TRUE(has(message_of<DataError>([] { Tokenizer("none"); }), "no tokenizer.json"));
  EXPECT_TRUE(has(message_of<DataError>([] { Tokenizer("missing.json"); }), "missing.json"));
}

class FileTokenizer : public testing::Test {
 protected:
  static Json json_of(const std::string& name) { return Json::parse(std::ifstream(fixture(name))); }
  std::string written(const Json& json) const {
    put(scratch_ / "tokenizer.json", json.dump());
    return scratch_ / "tokenizer.json";
  }
  std::string error_of(const Json& json) const {
    const std::string path = written(json);
    return message_of<DataError>([&] { Tokenizer{path}; });
  }
  const Scratch scratch_;
};

TEST_F(FileTokenizer, GivesTheReferencesTokensAndTheTextBack) {
  Json spaced = json_of("gpt2.json");
  spaced["pre_tokenizer"]["add_prefix_space"] = true;
  const std::map<std::string, std::string> files{
      {"gpt2", fixture("gpt2.json")}, {"llama3", fixture("llama3.json")}, {"gpt2 with prefix space", written(spaced)}};
  const Json cases = json_of("cases.json");
  ASSERT_EQ(cases.size(), files.size());
  for (const auto& [name, path] : files) {
    const Tokenizer tokenizer(path);
    for (const Json& one : cases[name]) {
      const auto text = one[0].get<std::string>();
      const std::vector<uint32_t> tokens = tokenizer.encode(text);
      EXPECT_EQ(tokens, one[1].get<std::vector<uint32_t>>()) << name << ": " << text.substr(0, 80);
      if (name != "gpt2 with prefix space" && !has(text, "<|end")) {
        EXPECT_EQ(tokenizer.decode(signed_of(tokens)), text) << name;
      }
    }
  }
}

TEST_F(FileTokenizer, PartsGiveTheTokensOfTheWhole) {
  for (const std::string name : {"gpt2", "llama3", "gpt2 with prefix space"}) {
    Json json = json_of(name.substr(0, name.find(' ')) + ".json");
    if (has(name, "prefix")) json["pre_tokenizer"]["add_prefix_space"] = true;
    const Tokenizer tokenizer(written(json));
    for (const Json& one : json_of("cases.json")[name]) {
      const auto text = one[0].get<std::string>();
      for (const size_t part : {1, 7, 100, 1000}) {
        Encoder encoder(tokenizer);
        std::vector<uint32_t> tokens;
        Encoder::Place place;
        for (size_t at = 0; at + place.offset < text.size();) {
          at += place.offset;
          const std::string_view seen = std::string_view(text).substr(at, part + 400);  // no word is longer
          place = encoder.encode(seen, std::min(part, seen.size()), {0, place.begins}, tokens);
        }
        ASSERT_EQ(tokens, one[1].get<std::vector<uint32_t>>()) << name << " in parts of " << part << ": " << text;
      }
    }
  }
}

TEST_F(FileTokenizer, KnowsItsVocabularyAndTheEndOfADocument) {
  const Tokenizer gpt2(fixture("gpt2.json")), llama3(fixture("llama3.json"));
  EXPECT_EQ(gpt2.vocabulary(), 605);
  EXPECT_EQ(gpt2.encode("<|endoftext|>"), (std::vector<uint32_t>{static_cast<uint32_t>(gpt2.end_of_document())}));
  EXPECT_EQ(llama3.encode("<|end_of_text|>"), (std::vector<uint32_t>{static_cast<uint32_t>(llama3.end_of_document())}));
  EXPECT_EQ(gpt2.decode({gpt2.end_of_document()}), "");
  EXPECT_THROW(gpt2.decode({605}), DataError);
  Json json = json_of("gpt2.json");
  json["added_tokens"] = Json::array();
  json["model"]["vocab"].erase("<|endoftext|>");
  const Tokenizer endless(written(json));
  EXPECT_THROW(endless.decode({0}), DataError);  // the token that is gone
  EXPECT_TRUE(has(message_of<DataError>([&] { endless.end_of_document(); }), "expected an added token <|endoftext|>"));
}

TEST_F(FileTokenizer, BytesThatAreNotUtf8ComeBack) {
  std::mt19937 generator(3);
  for (const char* name : {"gpt2.json", "llama3.json"}) {
    const Tokenizer tokenizer(fixture(name));
    EXPECT_EQ(tokenizer.encode("\xff").size(), 1u);
    const std::vector<std::string> pieces{"word",     " ",    "\n", "é", "中",      "\xf0\x9f",
                                          "\xff\xfe", "\x80", "'s", "7", "\xe4\xb8"};
    for (int i = 0; i < 2000; ++i) {
      std::string text;
      for (int k = 0; k < 12; ++k) text += pieces[generator() % pieces.size()];
      if (i % 2 == 0) text[generator() % text.size()] = static_cast<char>(generator());
      ASSERT_EQ(tokenizer.decode(signed_of(tokenizer.encode(text))), text);
    }
  }
}

TEST_F(FileTokenizer, AVeryLongWordTakesNoMoreThanItsShare) {
  const Tokenizer tokenizer(fixture("llama3.json"));
  for (const std::string& one :
       {std::string("l"), std::string(" "), std::string("\n"), std::string("é"), std::string("!")}) {
    std::string text;
    for (int i = 0; i < 300'000; ++i) text += one;
    EXPECT_TRUE(tokenizer.decode(signed_of(tokenizer.encode(text))) == text) << one;
  }
}

TEST_F(FileTokenizer, RefusesOtherKindsByName) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"({"normalizer": {"type": "NFC"}})", "no normalizer, got NFC"},
      {R"({"model": {"type": "WordPiece"}})", "expected a model of type BPE"},
      {R"({"model": {"dropout": 0.1}})", "no dropout, got 0.1"},
      {R"({"model": {"continuing_subword_prefix": "##"}})", "no continuing_subword_prefix"},
      {R"({"model": {"end_of_word_suffix": "</w>"}})", "no end_of_word_suffix"},
      {R"({"model": {"vocab": {"Ġ": null}}})", "a vocabulary with every byte"},
      {R"({"model": {"vocab": {"Ġ": 5}}})", "of id 5"},
      {R"({"model": {"vocab": {"Ġ": -1}}})", "ids below"},
      {R"({"model": {"vocab": {"Ġ": 4000000000}}})", "ids below"},
      {R"({"model": {"merges": ["ab"]}})", "merges of two tokens"},
      {R"({"model": {"merges": [["a", "b", "c"]]}})", "merges of two tokens"},
      {R"({"model": {"merges": ["a \u4e2d"]}})", "merge 0 (a 中)"},
      {R"({"decoder": null})", "decoder: ByteLevel"},
      {R"({"pre_tokenizer": {"type": "Whitespace"}})", "got Whitespace"},
      {R"({"pre_tokenizer": {"pretokenizers": [{"behavior": "Removed"}]}})", "Isolated"},
      {R"({"pre_tokenizer": {"use_regex": false, "type": "ByteLevel"}})", "got ByteLevel"},
      {R"({"pre_tokenizer": {"pretokenizers": [0, {"add_prefix_space": true}]}})", "nor add_prefix_space"},
      {R"({"pre_tokenizer": {"pretokenizers": [{"pattern": {"Regex": "(?<=a)b"}}]}})", "looks behind"},
      {R"({"pre_tokenizer": {"pretokenizers": [{"pattern": {"Regex": "a*"}}]}})", "can match nothing"},
      {R"({"pre_tokenizer": {"pretokenizers": [{"pattern": {"Regex": "(a"}}]}})", "is malformed"},
      {R"({"pre_tokenizer": {"pretokenizers": [{"pattern": {"Regex": "^a"}}]}})", "uses ^"},
      {R"({"added_tokens": [{"lstrip": true}]})", "no lstrip, got true"},
      {R"({"added_tokens": [{"id": 7}]})", "of id 7"},
  };
  // Elements of arrays are patched by place; a number leaves one as it is.
  const auto patch = [](Json& json, const Json& change, const auto& self) -> void {
    for (const auto& [key, value] : change.items()) {
      if (!value.is_structured() || !json.contains(key) || key == "merges") {
        value.is_null() && key != "decoder" ? void(json.erase(key)) : void(json[key] = value);
      } else if (value.is_array()) {
        for (size_t i = 0; i < value.size(); ++i) {
          if (value[i].is_object()) self(json[key][i], value[i], self);
        }
      } else {
        self(json[key], value, self);
      }
    }
  };
  for (const auto& [change, reason] : cases) {
    Json json = json_of("llama3.json");
    patch(json, Json::parse(change), patch);
    const std::string message = error_of(json);
    EXPECT_TRUE(has(message, reason) && has(message, "tokenizer.json: ")) << change << "\n" << message;
  }
}

TEST_F(FileTokenizer, SurvivesDamagedFiles) {
  const std::string whole = contents(fixture("llama3.json"));
  std::mt19937 generator(4);
  int refused = 0;
  for (int i = 0; i < 150; ++i) {
    std::string text = whole;
    for (int k = 0; k < 3; ++k) text[generator() % text.size()] = "\"{}[],:0x\xff"[generator() % 10];
    if (i % 3 == 0) text.resize(generator() % text.size());
    put(scratch_ / "tokenizer.json", text);
    try {
      Tokenizer(scratch_ / "tokenizer.json").encode("Any text, 123.\n");
    } catch (const DataError& error) {
      EXPECT_TRUE(has(error.what(), scratch_ / "tokenizer.json"));
      ++refused;
    }
  }
  EXPECT_GT(refused, 75);
}

TEST_F(FileTokenizer, IsCopiedIntoAFolderAndFoundThere) {
  EXPECT_EQ(copy_tokenizer("bytes", scratch_.path()), "bytes");
  EXPECT_EQ(copy_tokenizer("none", scratch_.path()), "none");
  EXPECT_TRUE(scratch_.names().empty());
  EXPECT_EQ(copy_tokenizer(fixture("gpt2.json"), scratch_.path()), "tokenizer.json");
  EXPECT_EQ(contents(scratch_ / "tokenizer.json"), contents(fixture("gpt2.json")));
  EXPECT_EQ(tokenizer_in(scratch_.path(), "tokenizer.json"), scratch_ / "tokenizer.json");
  EXPECT_EQ(tokenizer_in(scratch_.path(), "bytes"), "bytes");
  EXPECT_EQ(copy_tokenizer(scratch_ / "tokenizer.json", scratch_.path()), "tokenizer.json");  // onto itself
  EXPECT_EQ(contents(scratch_ / "tokenizer.json"), contents(fixture("gpt2.json")));
}

}  // namespace
}  // namespace reprise
