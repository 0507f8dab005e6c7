#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reprise {

struct TokenizerFile;

// Text to tokens and back: "bytes" (256 byte values and 256 = end of document), or the byte-level BPE of a Hugging Face
// tokenizer.json (training/tokenizer_file.h), with the tokens that `tokenizers` gives without special tokens added.
// decode(encode(text)) is text, but for ends of documents and a space that the file wants before it. Bytes that are not
// UTF-8 are words of their own. Immutable; copies share their tables; any thread may call it.
class Tokenizer {
 public:
  // "bytes", or a tokenizer.json's path. Throws DataError for a file of another kind, for "none" (a model or data whose
  // tokenizer is not known) and other names.
  explicit Tokenizer(const std::string& wanted);

  int64_t vocabulary() const { return vocabulary_; }  // highest token + 1
  bool knows(int64_t token) const;                    // a file's ids below the vocabulary may have gaps
  // Of a file: the added token <|endoftext|>, <|end_of_text|>, </s> or <eos>, the first of these that it has; the
  // second throws DataError when it has none.
  std::optional<int64_t> end() const { return end_; }
  int64_t end_of_document() const;
  std::vector<uint32_t> encode(std::string_view text) const;
  // The end of a document has no text. Throws DataError on a token that it does not know.
  std::string decode(const std::vector<int64_t>& tokens) const;

 private:
  friend class Encoder;
  std::string source_;                         // as wanted
  std::shared_ptr<const TokenizerFile> file_;  // none for bytes
  int64_t vocabulary_ = 257;
  std::optional<int64_t> end_ = 256;
};

// The same for much text, part by part; remembers the tokens of words. One thread at a time.
class Encoder {
 public:
  explicit Encoder(const Tokenizer& tokenizer);
  ~Encoder();

  // Where the tokens of a part end: the next part goes on there. `begins`: as a text does, or after an added token.
  struct Place {
    size_t offset = 0;
    bool begins = true;
    bool operator==(const Place&) const = default;
  };
  // Appends the tokens of the words that begin in text[from.offset, stop); what follows `stop` is looked at, as the
  // last of these words may reach into it. Its end, the text's end at most, is the place returned. The tokens of parts
  // are those of the whole text as long as each word ends before the text that its part sees does.
  Place encode(std::string_view text, size_t stop, Place from, std::vector<uint32_t>& tokens);

 private:
  struct State;
  std::unique_ptr<State> state_;  // none for bytes
};

// A folder of data or of weights keeps the name of its tokenizer ("bytes", "none", or "tokenizer.json" in the folder).
// copy_tokenizer() puts the file of `wanted`, if it has one, into a folder, durably, and returns that name;
// tokenizer_in() makes of folder and name what Tokenizer wants. Throws DataError and StorageError.
std::string copy_tokenizer(const std::string& wanted, const std::string& folder);
std::string tokenizer_in(const std::string& folder, const std::string& name);

}  // namespace reprise
