#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace reprise {

// Text to tokens and back. There is one kind, "bytes": 256 byte values and 256 = end of document. Stateless; any thread
// may call it.
class Tokenizer {
 public:
  explicit Tokenizer(const std::string& wanted);  // throws DataError on an unknown name
  std::string name() const { return "bytes"; }
  int64_t vocabulary() const { return end_of_document() + 1; }
  int64_t end_of_document() const { return 256; }
  // May be called piece by piece: encode(a + b) is encode(a) followed by encode(b).
  std::vector<uint16_t> encode(std::string_view text) const;
  // The end of a document has no text. Throws DataError on a token outside the vocabulary.
  std::string decode(const std::vector<int64_t>& tokens) const;
};

}  // namespace reprise
