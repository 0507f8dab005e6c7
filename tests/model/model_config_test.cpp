#include "model/model_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>


namespace reprise {
namespace {

struct Broken {
  std::function<void(ModelConfig&)> spoil;
  std::string key, nearest;
};

TEST(ModelConfig, RefusesWhatCannotBeAndNamesTheNearestLegalValue) {
  const std::vector<Broken> cases{
      {[](ModelConfig& c) { c.heads = 5; }, "model.heads", "4"},
      {[](ModelConfig& c) { c.heads = 30; }, "model.heads", "32"},
      {[](ModelConfig& c) { c.heads = 0; }, "model.heads", "1"},
      {[](ModelConfig& c) { c.heads = 129; }, "model.heads", "128"},
      {[](ModelConfig& c) { c.family = Family::llama, c.heads = 128; }, "model.heads", "64"},
      {[](ModelConfig& c) { c.family = Family::llama, c.width = 15, c.heads = 3; }, "model.width", "16"},
      {[](ModelConfig& c) { c.kv_heads = 3; }, "model.kv_heads", "2"},
      {[](ModelConfig& c) { c.kv_heads = 8; }, "model.kv_heads", "4"},
      {[](ModelConfig& c) { c.kv_heads = -1; }, "model.kv_heads", "0"},
      {[](ModelConfig& c) { c.layers = 0; }, "model.layers", "1"},
      {[](ModelConfig& c) { c.layers = 20000; }, "model.layers", "16000"},
      {[](ModelConfig& c) { c.width = 0; }, "model.width", "1"},
      {[](ModelConfig& c) { c.feed_forward = -4; }, "model.feed_forward", "0"},
      {[](ModelConfig& c) { c.context = 0; }, "model.context", "1"},
      {[](ModelConfig& c) { c.vocabulary = 0; }, "model.vocabulary", "1"},
      {[](ModelConfig& c) { c.head_chunk_tokens = -1; }, "model.head_chunk_tokens", "0"},
      {[](ModelConfig& c) { c.dropout = 1.0; }, "model.dropout", "0.99"},
      {[](ModelConfig& c) { c.dropout = -0.1; }, "model.dropout", "0"},
      {[](ModelConfig& c) { c.dropout = std::nan(""); }, "model.dropout", "0"},
      {[](ModelConfig& c) { c.rope_theta = 0.0; }, "model.rope_theta", "10000"},
      {[](ModelConfig& c) { c.objective = Objective::regression; }, "model.family", "postnorm"},
  };
  for (const Broken& broken : cases) {
    ModelConfig config;
    broken.spoil(config);
    try {
      config.resolved();
      ADD_FAILURE() << "accepted a broken " << broken.key;
    } catch (const InvalidSetting& error) {
      EXPECT_EQ(error.key(), broken.key) << error.what();
      const std::string message = error.what(), end = "the nearest legal value is " + broken.nearest;
      EXPECT_NE(message.find("expected "), std::string::npos) << message;
      EXPECT_NE(message.find(", got "), std::string::npos) << message;
      EXPECT_TRUE(message.ends_with(end)) << message << " should end with: " << end;
    }
  }
}

TEST(ModelConfig, HeadChunksFollowFromVocabularyAndWidthAlone) {
  const auto chunk = [](int64_t vocabulary, int64_t width) {
    ModelConfig config;
    config.vocabulary = vocabulary;
    config.width = width;
    config.head_chunk_tokens = 0;
    const int64_t tokens = config.resolved().head_chunk_tokens;
    config.layers = 7, config.context = 31, config.heads = 1, config.dropout = 0.5, config.tie_embeddings = false;
    EXPECT_EQ(config.resolved().head_chunk_tokens, tokens);
    EXPECT_EQ(tokens % 128, 0);
    return tokens;
  };
  EXPECT_EQ(chunk(50257, 768), 768);     // 64 MiB hold 667 rows of logits of two bytes
  EXPECT_EQ(chunk(50257, 1600), 896);    // half the width
  EXPECT_EQ(chunk(128256, 4096), 2048);  // the same
  EXPECT_EQ(chunk(1 << 24, 128), 128);   // the least
  EXPECT_EQ(chunk(257, 128), 130688);    // 64 MiB, whatever the batch has
  EXPECT_EQ(chunk(1, 128), 1 << 24);     // the most
  EXPECT_EQ(ModelConfig().resolved().head_chunk_tokens, 128) << "nothing changes for who says nothing";
}

TEST(ModelConfig, DerivesWhatIsZero) {
  ModelConfig config;
  EXPECT_EQ(config.resolved().kv_heads, 4);
  EXPECT_EQ(config.resolved().feed_forward, 512);
  config.family = Family::llama;
  config.width = 2048;
  EXPECT_EQ(config.resolved().feed_forward, 5504);  // 8/3 · 2048 = 5461.3, rounded up to a multiple of 64
  config.width = 192;
  EXPECT_EQ(config.resolved().feed_forward, 512);  // exactly 8/3 · 192
  config.kv_heads = 2;
  config.feed_forward = 100;
  EXPECT_EQ(config.resolved().kv_heads, 2);
  EXPECT_EQ(config.resolved().feed_forward, 100);
}

TEST(ModelConfig, PadsTheVocabularyToAMultipleOf64) {
  ModelConfig config;
  EXPECT_EQ(config.padded_vocabulary(), 320);
  config.vocabulary = 64;
  EXPECT_EQ(config.padded_vocabulary(), 64);
}

}  // namespace
}  // namespace reprise
