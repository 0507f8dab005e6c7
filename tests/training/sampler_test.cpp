#include "training/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/model/bound_model.h"
#include "training/errors.h"

namespace reprise {
namespace {

struct Cut {
  double temperature;
  int64_t top_k;
  double top_p;
  std::vector<double> probabilities;
};

// From TemperatureLogitsWarper, TopKLogitsWarper and TopPLogitsWarper of Hugging Face's transformers 5.24, in that
// order, in double precision; two of the logits are equal.
TEST(TokenProbabilities, AreThoseOfHuggingFace) {
  const torch::Tensor logits = torch::tensor({0.5, -1.25, 2.0, 2.0, -0.5, 1.0, 3.0, -4.0});
  const std::vector<Cut> cuts{
      {1, 0, 1, {0.041072, 0.007137, 0.184073, 0.184073, 0.01511, 0.067717, 0.500362, 0.000456}},
      {0.5, 0, 1, {0.005196, 0.000157, 0.104358, 0.104358, 0.000703, 0.014123, 0.771105, 0.000001}},
      {1, 3, 1, {0, 0, 0.211942, 0.211942, 0, 0, 0.576117, 0}},
      {1, 2, 1, {0, 0, 0.211942, 0.211942, 0, 0, 0.576117, 0}},
      {1, 0, 0.9, {0, 0, 0.196612, 0.196612, 0, 0.072329, 0.534447, 0}},
      {1, 0, 0.5, {0, 0, 0, 0, 0, 0, 1, 0}},
      {1, 0, 0.1, {0, 0, 0, 0, 0, 0, 1, 0}},
      {2, 5, 0.8, {0, 0, 0.235004, 0.235004, 0, 0.142537, 0.387456, 0}},
      {0.7, 4, 0.6, {0, 0, 0, 0, 0, 0, 1, 0}},
      {1, 100, 0.95, {0.042026, 0, 0.188349, 0.188349, 0, 0.06929, 0.511986, 0}}};
  for (const Cut& cut : cuts) {
    const torch::Tensor found =
        token_probabilities(logits, {.temperature = cut.temperature, .top_k = cut.top_k, .top_p = cut.top_p});
    ASSERT_EQ(found.scalar_type(), torch::kFloat64);
    for (int64_t i = 0; i < found.size(0); ++i) {
      EXPECT_NEAR(found[i].item<double>(), cut.probabilities[static_cast<size_t>(i)], 6e-7)
          << cut.temperature << " " << cut.top_k << " " << cut.top_p << " token " << i;
    }
  }
}

TEST(TokenProbabilities, AreDefinedAtTheEnds) {
  const torch::Tensor logits = torch::tensor({1000.0, -1000.0, 1000.0, 900.0});
  const torch::Tensor coldest = token_probabilities(logits, {.temperature = 1e-310});
  EXPECT_TRUE(torch::equal(coldest, torch::tensor({0.5, 0.0, 0.5, 0.0}, torch::kFloat64)));
  const torch::Tensor one = token_probabilities(logits, {.top_p = 1e-12});
  EXPECT_TRUE(torch::equal(one, torch::tensor({1.0, 0.0, 0.0, 0.0}, torch::kFloat64))) << "one token stays";
}

// A small model and what it predicts.
struct SamplerTest : testing::Test {
  const ModelConfig config = small_model(Family::llama);
  const BoundModel model{config};

  std::vector<int64_t> draw(const SamplingSetting& setting, std::vector<int64_t> prompt = {5, 6},
                            int count = 40) const {
    Sampler sampler(model.chain, std::move(prompt), setting);
    std::vector<int64_t> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(sampler.next());
    return tokens;
  }
  torch::Tensor logits(std::vector<int64_t> window) const {
    return model.chain.next_token_logits(torch::tensor(window, torch::kInt64).unsqueeze(0))[0];
  }
};

TEST_F(SamplerTest, IsAFunctionOfTheSeed) {
  EXPECT_EQ(draw({.temperature = 1, .seed = 1}), draw({.temperature = 1, .seed = 1}));
  EXPECT_NE(draw({.temperature = 1, .seed = 1}), draw({.temperature = 1, .seed = 2}));
  EXPECT_EQ(draw({.temperature = 0, .seed = 1}), draw({.temperature = 0, .seed = 2}));
  EXPECT_EQ(draw({.temperature = 1, .top_k = 1}), draw({.temperature = 0}));
  EXPECT_EQ(draw({.temperature = 1, .top_p = 1e-9}), draw({.temperature = 0}));
}

// What the class says of the context: it is read to its end, then anew from its last half on. Weights far from zero let
// the far tokens matter.
TEST_F(SamplerTest, StartsAnewWithTheLastHalfOfAFullContext) {
  model.values.mul_(20);
  for (const size_t length : {1, 9, 10, 11, 25}) {
    std::vector<int64_t> prompt, window;
    for (size_t i = 0; i < length; ++i) prompt.push_back(static_cast<int64_t>(i * 7 % 37));
    window.assign(prompt.end() - static_cast<std::ptrdiff_t>(std::min<size_t>(length, 10)), prompt.end());
    for (const int64_t token : draw({.temperature = 0}, prompt)) {
      if (window.size() == 11) window.erase(window.begin(), window.end() - 5);
      EXPECT_EQ(token, logits(window).argmax().item<int64_t>()) << length;
      window.push_back(token);
    }
  }
}

TEST_F(SamplerTest, DrawsFollowTheDistribution) {
  const SamplingSetting setting{.temperature = 0.1, .top_k = 5, .top_p = 0.9};
  const torch::Tensor expected = token_probabilities(logits({5}), setting);
  constexpr int kDraws = 2000;
  std::vector<int> hits(static_cast<size_t>(config.vocabulary));
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    const SamplingSetting seeded{.temperature = 0.1, .top_k = 5, .top_p = 0.9, .seed = seed};
    ++hits[static_cast<size_t>(draw(seeded, {5}, 1)[0])];
  }
  for (int64_t i = 0; i < config.vocabulary; ++i) {
    const double p = expected[i].item<double>();
    EXPECT_NEAR(hits[static_cast<size_t>(i)] / double{kDraws}, p, 5 * std::sqrt(p * (1 - p) / kDraws)) << i;
  }
}

TEST_F(SamplerTest, DrawsOnlyWhatMayFollow) {
  for (const double temperature : {0.0, 100.0}) {
    Sampler sampler(model.chain, {5, 6}, {.temperature = temperature}, [](int64_t token) { return token % 8 == 3; });
    for (int i = 0; i < 40; ++i) EXPECT_EQ(sampler.next() % 8, 3) << temperature;
  }
}

TEST_F(SamplerTest, RefusesPredictionsThatAreNotFinite) {
  model.values.fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(draw({.temperature = 0}), DataError);
  EXPECT_THROW(draw({}), DataError);
}

TEST(UnfinishedCharacter, CountsTheBytesThatWaitForMore) {
  EXPECT_EQ(unfinished_character_bytes(""), 0u);
  EXPECT_EQ(unfinished_character_bytes("a"), 0u);
  for (const std::string character : {"é", "€", "😀"}) {
    for (size_t bytes = 1; bytes < character.size(); ++bytes) {
      EXPECT_EQ(unfinished_character_bytes("aé" + character.substr(0, bytes)), bytes) << character;
      EXPECT_EQ(unfinished_character_bytes(character.substr(0, bytes) + "a"), 0u) << character;
    }
    EXPECT_EQ(unfinished_character_bytes(character), 0u);
  }
  EXPECT_EQ(unfinished_character_bytes("\x80\x80\x80\x80"), 0u) << "no character begins with these";
  EXPECT_EQ(unfinished_character_bytes("\xFF"), 0u);
}

}  // namespace
}  // namespace reprise
