#include "training/tokenizer.h"

#include "training/errors.h"

namespace reprise {

Tokenizer::Tokenizer(const std::string& wanted) {
  if (wanted != name()) throw DataError("unknown tokenizer '" + wanted + "'; there is: " + name());
}

std::vector<uint16_t> Tokenizer::encode(std::string_view text) const {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  return {bytes, bytes + text.size()};
}

std::string Tokenizer::decode(const std::vector<int64_t>& tokens) const {
  std::string text;
  text.reserve(tokens.size());
  for (const int64_t token : tokens) {
    if (token < 0 || token >= vocabulary()) throw DataError("token " + std::to_string(token) + " is not a byte");
    if (token != end_of_document()) text.push_back(static_cast<char>(token));
  }
  return text;
}

}  // namespace reprise
