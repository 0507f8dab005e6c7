#include "training/tokenizer.h"

#include "training/errors.h"

namespace reprise {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "bytes"; }
  int64_t vocabulary() const override { return kEndOfDocument + 1; }
  int64_t end_of_document() const override { return kEndOfDocument; }

  std::vector<uint16_t> encode(std::string_view text) const override {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    return {bytes, bytes + text.size()};
  }

  std::string decode(const std::vector<int64_t>& tokens) const override {
    std::string text;
    text.reserve(tokens.size());
    for (const int64_t token : tokens) {
      if (token < 0 || token > kEndOfDocument) throw DataError("token " + std::to_string(token) + " is not a byte");
      if (token != kEndOfDocument) text.push_back(static_cast<char>(token));
    }
    return text;
  }

 private:
  static constexpr int64_t kEndOfDocument = 256;
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name) {
  if (name == "bytes") return std::make_unique<ByteTokenizer>();
  throw DataError("unknown tokenizer '" + name + "'; there is: bytes");
}

}  // namespace reprise
