#include <gtest/gtest.h>

#include "tests/model/bound_model.h"

namespace reprise {
namespace {

// Next-token logits of every prefix from `first_part` positions on, (T, B, V): the first part at once, then token by
// token.
torch::Tensor step_by_step(const StageChain& chain, const torch::Tensor& tokens, int64_t first_part,
                           KeyValueCache& cache) {
  std::vector<torch::Tensor> logits{chain.next_token_logits(tokens.narrow(1, 0, first_part), &cache)};
  for (int64_t t = first_part; t < tokens.size(1); ++t) {
    logits.push_back(chain.next_token_logits(tokens.narrow(1, t, 1), &cache));
  }
  EXPECT_EQ(cache.positions, tokens.size(1));
  return torch::stack(logits);
}

torch::Tensor whole_windows(const StageChain& chain, const torch::Tensor& tokens, int64_t first_part) {
  std::vector<torch::Tensor> logits;
  for (int64_t t = first_part; t <= tokens.size(1); ++t) {
    logits.push_back(chain.next_token_logits(tokens.narrow(1, 0, t)));
  }
  return torch::stack(logits);
}

class KeyValueCacheTest : public testing::TestWithParam<Family> {
 protected:
  const ModelConfig config_ = small_model(GetParam(), /*dropout=*/0.1);
  const torch::Tensor tokens_ = random_batch(config_, 2, config_.context).tokens;

  // The largest difference from whole windows, of logits about `scale` large.
  double worst(const StageChain& chain, double& scale) const {
    double worst = 0;
    for (const int64_t first_part : {1, 4, 9, 10}) {
      KeyValueCache cache;
      const torch::Tensor expected = whole_windows(chain, tokens_, first_part);
      scale = expected.abs().max().item<double>();
      const torch::Tensor found = step_by_step(chain, tokens_, first_part, cache);
      worst = std::max(worst, (found - expected).abs().max().item<double>());
    }
    return worst;
  }
};

// Up to rounding only: the order of additions inside a matrix product depends on its number of rows.
TEST_P(KeyValueCacheTest, GivesTheLogitsOfTheWholeWindow) {
  double scale = 0;
  const BoundModel exact(config_, torch::kFloat64);
  EXPECT_LT(worst(exact.chain, scale), 1e-13 * std::max(1.0, scale));
  const BoundModel single(config_);
  EXPECT_LT(worst(single.chain, scale), 1e-5 * std::max(1.0, scale));
  const BoundModel narrow(config_, torch::kFloat32, 7, torch::kBFloat16);
  EXPECT_LT(worst(narrow.chain, scale), 0.05 * std::max(1.0, scale));
}

TEST_P(KeyValueCacheTest, ForgetsAndStartsAnew) {
  const BoundModel model(config_);
  KeyValueCache used, fresh;
  step_by_step(model.chain, tokens_.flip(1), 3, used);
  const void* const bytes = used.layers.const_data_ptr();
  used.positions = 0;
  const torch::Tensor tokens = tokens_.narrow(1, 0, 7);
  EXPECT_TRUE(torch::equal(step_by_step(model.chain, tokens, 5, used), step_by_step(model.chain, tokens, 5, fresh)));
  EXPECT_EQ(used.layers.const_data_ptr(), bytes) << "allocated once";
  EXPECT_FALSE(used.layers.requires_grad());
}

TEST_P(KeyValueCacheTest, RefusesSeveralTokensAtOnceAndMoreThanTheContext) {
  const BoundModel model(config_);
  KeyValueCache cache;
  step_by_step(model.chain, tokens_.narrow(1, 0, 8), 8, cache);
  EXPECT_THROW(model.chain.next_token_logits(tokens_.narrow(1, 8, 2), &cache), std::invalid_argument);
  for (const int64_t t : {8, 9}) model.chain.next_token_logits(tokens_.narrow(1, t, 1), &cache);
  EXPECT_THROW(model.chain.next_token_logits(tokens_.narrow(1, 0, 1), &cache), std::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Families, KeyValueCacheTest, testing::Values(Family::gpt2, Family::llama, Family::postnorm),
                         family_name);

}  // namespace
}  // namespace reprise
