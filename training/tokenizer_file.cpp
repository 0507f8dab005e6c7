#include "training/tokenizer_file.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "training/dataset.h"
#include "training/errors.h"
#include "training/input_file.h"
#include "training/pattern.h"

namespace reprise {
namespace {

using Json = nlohmann::json;

constexpr const char* kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void expect(bool holds, const std::string& what) {
  if (!holds) throw DataError("expected " + what);
}

void expect_none(const Json& json, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const Json value = json.value(key, Json());
    const bool is_unset = value.is_null() || value == "" || value == false || value == 0;
    expect(is_unset, fmt::format("no {}, got {}", key, value.is_object() ? value.value("type", "one") : value.dump()));
  }
}

std::string type_of(const Json& json) { return json.is_object() ? json.value("type", "none") : "none"; }

// Byte-level vocabularies spell a byte as a printable character: itself, or the next free one from U+0100 on. -1: none.
int byte_of(int c) {
  if ((c > 32 && c < 127) || (c > 160 && c < 256 && c != 173)) return c;
  if (c >= 256 && c <= 288) return c - 256;
  if (c >= 289 && c <= 322) return c - 289 + 127;
  return c == 323 ? 173 : -1;
}

// None for text that spells no bytes, such as an added token with a space in it.
std::optional<std::string> bytes_of(const std::string& spelled) {
  std::string text;
  for (size_t i = 0; i < spelled.size(); ++i) {
    int c = static_cast<unsigned char>(spelled[i]);
    if ((c & 0xe0) == 0xc0 && i + 1 < spelled.size()) c = (c & 0x1f) << 6 | (spelled[++i] & 0x3f);
    if (byte_of(c) < 0) return std::nullopt;
    text.push_back(static_cast<char>(byte_of(c)));
  }
  return text;
}

uint32_t add_token(TokenizerFile& file, const Json& id, const std::string& text) {
  expect(id.is_number_integer() && id >= 0 && id < kMostVocabulary, fmt::format("ids below {}", kMostVocabulary));
  const auto token = id.get<uint32_t>();
  if (token >= file.texts.size()) file.texts.resize(token + 1);
  std::string& known = file.texts[token];
  expect(!text.empty() && (known.empty() || known == text), fmt::format("one token, and with text, of id {}", token));
  known = text;
  return token;
}

void read_model(TokenizerFile& file, const Json& model) {
  expect(model.value("type", "BPE") == "BPE", "a model of type BPE, got " + type_of(model));
  expect_none(model, {"dropout", "continuing_subword_prefix", "end_of_word_suffix"});
  const bool ignores_merges = model.value("ignore_merges", false);
  TextMap<uint32_t> tokens;
  int bytes = 0;
  for (const auto& [spelled, id] : model.at("vocab").items()) {
    const std::optional<std::string> text = bytes_of(spelled);
    const uint32_t token = tokens[spelled] = add_token(file, id, text.value_or(spelled));
    if (text && ignores_merges) file.whole.emplace(*text, token);
    if (!text || text->size() != 1) continue;
    file.bytes[static_cast<unsigned char>((*text)[0])] = token;
    ++bytes;
  }
  expect(bytes == 256, "a vocabulary with every byte");

  uint32_t rank = 0;
  file.merges.max_load_factor(0.25F);  // looked up several times a byte
  for (const Json& merge : model.at("merges")) {
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    expect(space != std::string::npos || merge.size() == 2, "merges of two tokens");
    const auto pair = merge.is_string() ? std::array{text.substr(0, space), text.substr(space + 1)}
                                        : merge.get<std::array<std::string, 2>>();
    const auto left = tokens.find(pair[0]), right = tokens.find(pair[1]), both = tokens.find(pair[0] + pair[1]);
    expect(left != tokens.end() && right != tokens.end() && both != tokens.end(),
           fmt::format("merge {} ({} {}) to be of and to tokens of the vocabulary", rank, pair[0], pair[1]));
    file.merges[TokenizerFile::pair(left->second, right->second)] = {rank++, both->second};
  }
}

void read_words(TokenizerFile& file, const Json& json) {
  const Json* bytes = &json;
  file.words = kGpt2Words;
  if (type_of(json) == "Sequence") {
    const Json& parts = json.at("pretokenizers");
    expect(parts.size() == 2 && type_of(parts[0]) == "Split" && parts[0].at("behavior") == "Isolated" &&
               !parts[0].value("invert", false) && parts[0].at("pattern").contains("Regex"),
           "pre_tokenizer: a Sequence of Split by a Regex (Isolated, not inverted) and ByteLevel");
    file.words = parts[0]["pattern"]["Regex"].get<std::string>();
    bytes = &parts[1];
  }
  const bool is_alone = bytes == &json;
  file.prefix_space = bytes->value("add_prefix_space", true);
  expect(
      type_of(*bytes) == "ByteLevel" && bytes->value("use_regex", true) == is_alone && (is_alone || !file.prefix_space),
      "pre_tokenizer: ByteLevel, or Split and a ByteLevel with neither use_regex nor add_prefix_space; got " +
          type_of(*bytes));
  Pattern{file.words};
}

}  // namespace

TokenizerFile::TokenizerFile(const std::string& path) {
  constexpr int64_t kMostBytes = int64_t{1} << 28;
  try {
    expect(file_bytes(path) <= kMostBytes, fmt::format("at most {} bytes", kMostBytes));
    std::ifstream stream(path, std::ios::binary);
    const Json json = Json::parse(stream);
    read_model(*this, json.at("model"));
    expect_none(json, {"normalizer"});
    expect(type_of(json.value("decoder", Json())) == "ByteLevel", "decoder: ByteLevel");
    for (const Json& token : json.value("added_tokens", Json::array())) {
      expect_none(token, {"single_word", "lstrip", "rstrip"});
      const auto text = token.at("content").get<std::string>();
      added[token.value("normalized", true) ? 1 : 0].emplace(text, add_token(*this, token.at("id"), text));
    }
    read_words(*this, json.at("pre_tokenizer"));
  } catch (const Json::exception& error) {
    throw DataError(fmt::format("{}: is no tokenizer.json: {}", path, error.what()));
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", path, error.what()));
  }
}

}  // namespace reprise
