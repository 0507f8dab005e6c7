#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace reprise {

// By text; a string_view finds without a copy.
struct TextHash : std::hash<std::string_view> {
  using is_transparent = void;
};
template <class Value>
using TextMap = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

// By text; of those that begin alike the longest comes first.
using AddedTokens = std::map<std::string, uint32_t, std::greater<>>;

// What a Hugging Face tokenizer.json of the byte-level BPE kind says (GPT-2's, Llama-3's and their like): model BPE;
// pre_tokenizer ByteLevel with its pattern, or Split by one (Isolated) and ByteLevel without; no normalizer; decoder
// ByteLevel. Every byte must be a token, so that unk_token and byte_fallback never matter. post_processor, truncation
// and padding are for inputs of a finished model and left out.
struct TokenizerFile {
  // Throws DataError that names the file and what was expected there.
  explicit TokenizerFile(const std::string& path);

  struct Merge {
    uint32_t rank, token;
  };
  static uint64_t pair(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

  std::vector<std::string> texts;              // by token; "": there is no such token
  std::array<uint32_t, 256> bytes{};           // token of each byte
  std::unordered_map<uint64_t, Merge> merges;  // by pair(): what two tokens become
  TextMap<uint32_t> whole;                     // words that are a token whatever the merges say
  std::string words;                           // the pattern
  bool prefix_space = false;  // before each text, and after each added token, that does not begin with one
  // Added tokens, found in the text before words are: those with normalized: false first, then the others in between.
  std::array<AddedTokens, 2> added;
};

}  // namespace reprise
