#include <gtest/gtest.h>

#include <random>

#include "tests/training/shards.h"
#include "tests/training/tokenizers.h"
#include "training/errors.h"
#include "training/prepare.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

// Words, indented lines and added tokens, so that many blocks end where no word begins.
std::string words(size_t bytes, unsigned seed) {
  const std::vector<std::string> pieces{"word", " ",     " ",    "\n",    "\n\n    ",     "é",
                                        "中文", "12345", "'s",   "<|x|>", "  two spaces", "!?",
                                        "\t",   "\xff",  "||><", "😀"};
  std::mt19937 generator(seed);
  std::string text;
  while (text.size() < bytes) text += pieces[generator() % pieces.size()];
  return text;
}

class PrepareBlocks : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) {
    put(input_ / name, text);
    return input_ / name;
  }
  // All tokens of a split.
  std::vector<int64_t> tokens(const std::string& split) const {
    std::vector<int64_t> all;
    for (const std::string& path : shard_paths(out_.path(), split)) {
      const std::vector<int64_t> some = tokens_of(path);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }
  // Of bytes, without ends of documents.
  std::string text(const std::string& split) const { return Tokenizer("bytes").decode(tokens(split)); }

  Scratch input_, out_;
};

TEST_F(PrepareBlocks, BlocksAndThreadsChangeNoToken) {
  const std::string text = words(200'000, 1);
  const std::string path = file("long", text);
  for (const std::string name : {"gpt2.json", "llama3.json"}) {
    const Tokenizer tokenizer(fixture(name));
    std::vector<uint32_t> expected;  // the first text, which blocks must not see beyond, and the second
    const size_t cut = character_begin(text, text.size() - text.size() / 20);
    for (const auto& part : {text.substr(0, cut), text.substr(cut)}) {
      const std::vector<uint32_t> some = tokenizer.encode(part);
      expected.insert(expected.end(), some.begin(), some.end());
      expected.push_back(static_cast<uint32_t>(tokenizer.end_of_document()));
    }
    for (const int64_t block_bytes : {1000, 4096, 1 << 20}) {
      for (const int threads : {1, 3}) {
        prepare_data({path}, out_.path(), fixture(name), {}, {.threads = threads, .block_bytes = block_bytes});
        std::vector<int64_t> found = tokens("train");
        const std::vector<int64_t> held_out = tokens("validation");
        found.insert(found.end(), held_out.begin(), held_out.end());
        ASSERT_TRUE(std::equal(found.begin(), found.end(), expected.begin(), expected.end()))
            << name << ", blocks of " << block_bytes << ", threads " << threads;
      }
    }
  }
}

TEST_F(PrepareBlocks, AWordThatReachesFarBeyondItsBlockIsCutAndNothingIsLost) {
  std::string text = words(3000, 2) + std::string(5000, 'l') + words(3000, 3) + std::string(900, ' ');
  const DatasetInfo info =
      prepare_data({file("a", text)}, out_.path(), fixture("llama3.json"), {}, {.threads = 2, .block_bytes = 1000});
  const Tokenizer tokenizer(out_ / "tokenizer.json");
  EXPECT_TRUE(tokenizer.decode(tokens("train")) + tokenizer.decode(tokens("validation")) == text);
  EXPECT_EQ(info.tokenizer, "tokenizer.json");
  EXPECT_EQ(info.vocabulary, tokenizer.vocabulary());
  EXPECT_NEAR(info.bytes_per_token * static_cast<double>(info.validation_tokens), text.size() / 20, 3);
}

TEST_F(PrepareBlocks, TheTwentiethBeginsWithACharacter) {
  std::string text = "x";
  for (int i = 0; i < 30; ++i) text += "中";  // 91 bytes, the last 4 of which are a character and a byte
  prepare_data({file("a", text)}, out_.path(), "bytes", {});
  EXPECT_EQ(this->text("train"), text.substr(0, 85));
  EXPECT_EQ(this->text("validation"), "中中");
}

TEST_F(PrepareBlocks, LinesByFormatAndField) {
  std::string lines;
  for (int i = 0; i < 40; ++i)
    lines += "{\"text\": \"no\", \"body\": \"" + std::string(20, 'b') + std::to_string(i) + "\"}\n";
  const std::string path = file("corpus.txt", lines);
  const auto with = [&](TextFormat format, int64_t block_bytes) {
    return prepare_data({path}, out_.path(), "bytes", {},
                        {.format = format, .field = "body", .threads = 2, .block_bytes = block_bytes});
  };
  EXPECT_EQ(with(TextFormat::by_name, 1 << 20).documents, 1);
  EXPECT_EQ(with(TextFormat::json_lines, 1 << 20).documents, 40);
  const std::string whole = text("train");
  with(TextFormat::json_lines, 64);  // less than two lines
  EXPECT_EQ(text("train"), whole);
  EXPECT_FALSE(has(whole, "no"));
  put(path, lines + "{\"body\": 1}\n");
  const std::string message = message_of<DataError>([&] { with(TextFormat::json_lines, 64); });
  EXPECT_TRUE(has(message, path + ":41: expected an object with a string \"body\"")) << message;
}

}  // namespace
}  // namespace reprise
