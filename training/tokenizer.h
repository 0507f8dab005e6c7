#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace reprise {

// Text to tokens and back. Stateless; any thread may call it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string name() const = 0;  // "bytes"
  virtual int64_t vocabulary() const = 0;
  virtual int64_t end_of_document() const = 0;
  // May be called piece by piece: encode(a + b) is encode(a) followed by encode(b).
  virtual std::vector<uint16_t> encode(std::string_view text) const = 0;
  // The end of a document has no text. Throws DataError on a token outside the vocabulary.
  virtual std::string decode(const std::vector<int64_t>& tokens) const = 0;
};

// bytes: 256 byte values and 256 = end of document.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);  // throws DataError on an unknown name

}  // namespace reprise
