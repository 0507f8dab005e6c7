#include "training/tokenizer.h"

#include <gtest/gtest.h>

#include "training/errors.h"

namespace reprise {
namespace {

TEST(ByteTokenizer, EveryByteIsItsOwnTokenAndComesBack) {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  const Tokenizer tokenizer("bytes");
  EXPECT_EQ(tokenizer.name(), "bytes");
  EXPECT_EQ(tokenizer.vocabulary(), 257);
  EXPECT_EQ(tokenizer.end_of_document(), 256);
  const std::vector<uint16_t> tokens = tokenizer.encode(text);
  ASSERT_EQ(tokens.size(), 256u);
  for (size_t byte = 0; byte < 256; ++byte) EXPECT_EQ(tokens[byte], byte);
  EXPECT_EQ(tokenizer.decode({tokens.begin(), tokens.end()}), text);
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

TEST(ByteTokenizer, RefusesAnUnknownName) { EXPECT_THROW(Tokenizer("words"), DataError); }

}  // namespace
}  // namespace reprise
