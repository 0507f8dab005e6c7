#include <gtest/gtest.h>

#include "tests/model/reference_model.h"

namespace reprise {
namespace {

constexpr double kTolerance = 1e-10;  // relative to the largest element; double precision

// Two micro-batches of unequal length accumulate, with a loss scale, against plain autograd's sum of the two.
void expect_reference_gradients(const ModelConfig& config) {
  torch::manual_seed(3);
  BoundModel model(config, torch::kFloat64);
  ReferenceModel reference(config, model.chain.parameters());
  const double loss_scale = 0.37;
  for (const int64_t positions : {config.context, config.context - 3}) {
    Batch batch = random_batch(config, 3, positions);
    if (config.objective == Objective::regression) {
      batch = model.chain.random_batch(3, positions);
      EXPECT_EQ(batch.tokens.sizes(), (std::vector<int64_t>{3, positions, config.width}));
      batch.tokens.set_requires_grad(true);  // as the executor does; the input stage hands it on as it is
    }
    const torch::Tensor loss = run_stages(model.chain, batch, SaveLevel::all, loss_scale);
    const torch::Tensor expected = reference.loss(batch);
    EXPECT_EQ(loss.scalar_type(), torch::kFloat64);
    EXPECT_NEAR(loss.item<double>(), expected.item<double>(), kTolerance * expected.item<double>());
    expected.mul(loss_scale).backward();
  }
  ParameterTable& table = model.chain.parameters();
  for (int i = 0; i < table.size(); ++i) {
    const torch::Tensor expected = reference.grad(table[i].name);
    const double largest = expected.abs().max().item<double>();
    const double miss = (table[i].grad() - expected).abs().max().item<double>();
    EXPECT_GT(largest, 0.0) << table[i].name;
    EXPECT_LE(miss, kTolerance * largest) << table[i].name;
  }
}

class Gradients : public testing::TestWithParam<Family> {};

TEST_P(Gradients, AgreeWithPlainAutograd) { expect_reference_gradients(small_model(GetParam())); }

TEST_P(Gradients, AgreeWithDropout) { expect_reference_gradients(small_model(GetParam(), 0.1)); }

TEST_P(Gradients, AgreeWithAnUntiedHead) {
  ModelConfig config = small_model(GetParam());
  config.tie_embeddings = false;
  expect_reference_gradients(config);
}

TEST_P(Gradients, AgreeWithOneKeyHeadForAll) {
  ModelConfig config = small_model(GetParam(), 0.1);
  config.kv_heads = 1;
  expect_reference_gradients(config);
}

TEST(Regression, AgreesWithPlainAutograd) {
  for (const double dropout : {0.0, 0.1}) {
    ModelConfig config = small_model(Family::postnorm, dropout);
    config.objective = Objective::regression;
    expect_reference_gradients(config);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Gradients, testing::Values(Family::gpt2, Family::llama, Family::postnorm),
                         family_name);

TEST(NextTokenLogits, AreTheReferencesLastPosition) {
  const ModelConfig config = small_model(Family::gpt2, 0.1);
  BoundModel model(config, torch::kFloat64);
  const Batch batch = random_batch(config, 2, 6);
  const torch::Tensor logits = model.chain.next_token_logits(batch.tokens);
  ASSERT_EQ(logits.sizes(), (std::vector<int64_t>{2, config.vocabulary}));
  EXPECT_FALSE(logits.requires_grad());
  // The reference's loss of one target is its negative log-probability: compare at the last position of one sequence.
  ModelConfig without = config;
  without.dropout = 0.0;
  const ReferenceModel reference(without, model.chain.parameters());
  const Batch whole{batch.tokens.slice(0, 0, 1), batch.targets.slice(0, 0, 1), 0, 0};
  const Batch prefix{whole.tokens.slice(1, 0, 5), whole.targets.slice(1, 0, 5), 0, 0};
  const double last = reference.loss(whole).item<double>() - reference.loss(prefix).item<double>();
  const double mine = -logits[0].log_softmax(0)[whole.targets[0][5].item<int64_t>()].item<double>();
  EXPECT_NEAR(mine, last, 1e-9);
}

TEST(Context, LongerSequencesAreRefused) {
  const ModelConfig config = small_model(Family::llama);
  BoundModel model(config);
  const Batch batch = random_batch(config, 1, config.context + 1);
  EXPECT_THROW(run_stages(model.chain, batch), std::invalid_argument);
}

}  // namespace
}  // namespace reprise
