#include "model/head.h"

#include <gtest/gtest.h>

#include "tests/model/bound_model.h"
#include "tests/model/counting_allocator.h"

namespace reprise {
namespace {

StageContext head_context(const BoundModel& model, const Batch& batch, bool training) {
  StageContext context = context_of(batch, model.chain.size() - 1, SaveLevel::all, 0.5);
  context.training = training;
  return context;
}

Stage& head_of(BoundModel& model) { return model.chain[model.chain.size() - 1]; }

class HeadOf : public testing::TestWithParam<Family> {};

TEST_P(HeadOf, LossHasTheSameBitsInTrainingAndEvaluation) {
  const ModelConfig config = small_model(GetParam(), 0.1);
  BoundModel model(config);
  const Batch batch = random_batch(config, 3, config.context - 1);  // 27 tokens: three chunks of 8 and one of 3
  const torch::Tensor x = torch::randn({3, config.context - 1, config.width});
  const torch::Tensor input = x.clone().set_requires_grad(true);
  const torch::Tensor training = head_of(model).forward(input, head_context(model, batch, true));
  EXPECT_TRUE(input.detach().equal(x)) << "the boundary is not written to";
  EXPECT_GT(model.gradients.abs().max().item<float>(), 0.0f);
  model.gradients.zero_();
  const torch::Tensor evaluation = head_of(model).forward(input, head_context(model, batch, false));
  EXPECT_FALSE(evaluation.requires_grad());
  const torch::NoGradGuard no_graph;
  const torch::Tensor replay = head_of(model).forward(input, head_context(model, batch, true));
  EXPECT_TRUE(training.equal(evaluation));
  EXPECT_TRUE(training.equal(replay));
  EXPECT_EQ(model.gradients.abs().max().item<float>(), 0.0f) << "only training with a graph forms gradients";
  EXPECT_EQ(training.scalar_type(), torch::kFloat32);
}

TEST_P(HeadOf, LossIsTheSumOfCrossEntropyWhateverTheChunk) {
  torch::manual_seed(8);
  for (const int64_t chunk : {1, 7, 27, 1000}) {
    ModelConfig config = small_model(GetParam());
    config.head_chunk_tokens = chunk;
    BoundModel model(config, torch::kFloat64);
    const Batch batch = random_batch(config, 3, 9);
    const torch::Tensor x = torch::randn({27, 1, config.width}, torch::kFloat64);  // each token a sequence of its own
    const torch::NoGradGuard no_graph;
    const auto* head = dynamic_cast<const Head*>(&head_of(model));
    ASSERT_NE(head, nullptr);
    const torch::Tensor expected =
        at::cross_entropy_loss(head->logits(x.squeeze(1)), batch.targets.flatten(), {}, at::Reduction::Sum);
    const torch::Tensor loss = head_of(model).forward(x.view({3, 9, -1}), head_context(model, batch, false));
    EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-11 * expected.item<double>()) << chunk;
  }
}

// The plain head: all logits at once, differentiated by autograd.
TEST_P(HeadOf, ChunksGiveTheLossAndTheGradientsOfThePlainHead) {
  ModelConfig config = small_model(GetParam());
  config.head_chunk_tokens = 8;
  BoundModel model(config);
  const Batch batch = random_batch(config, 3, 9);  // 27 tokens: three chunks and a rest
  const torch::Tensor x = torch::randn({3, 9, config.width}).set_requires_grad(true);
  const torch::Tensor loss = head_of(model).forward(x, head_context(model, batch, true));
  torch::autograd::backward({loss}, {torch::ones_like(loss)});
  const torch::Tensor grad_x = x.grad().clone(), grads = model.gradients.clone();

  ParameterTable& table = model.chain.parameters();
  model.gradients.zero_();
  const auto parameter = [&](const std::string& name) {
    for (int i = 0; i < table.size(); ++i) {
      if (table[i].name == name) return table[i].value;
    }
    return torch::Tensor();
  };
  const torch::Tensor plain_x = x.detach().clone().set_requires_grad(true);
  torch::Tensor hidden = plain_x;
  const int64_t width = config.width;
  if (GetParam() == Family::gpt2) {
    hidden = at::layer_norm(hidden, {width}, parameter("head.norm.weight"), parameter("head.norm.bias"), 1e-5);
  } else if (GetParam() == Family::llama) {
    hidden = at::rms_norm(hidden, {width}, parameter("head.norm.weight"), 1e-5);
  }
  const torch::Tensor logits = at::linear(hidden, parameter("embedding.token").narrow(0, 0, config.vocabulary));
  const torch::Tensor plain =
      at::cross_entropy_loss(logits.flatten(0, 1), batch.targets.flatten(), {}, at::Reduction::Sum);
  torch::autograd::backward({plain}, {torch::full({}, 0.5)});  // head_context()'s loss scale
  const auto miss = [](const torch::Tensor& got, const torch::Tensor& expected) {
    return ((got - expected).abs().max() / expected.abs().max()).item<double>();
  };
  EXPECT_LT(miss(loss, plain), 1e-6);
  EXPECT_LT(miss(grad_x, plain_x.grad()), 1e-6);
  EXPECT_LT(miss(grads, model.gradients), 1e-6);
}

TEST_P(HeadOf, HoldsTheLogitsOfOneChunkAtMost) {
  CountingAllocator::install();
  const auto peak = [&](int64_t chunk, torch::Dtype compute) {
    ModelConfig config = small_model(GetParam());
    config.vocabulary = 5000;
    config.head_chunk_tokens = chunk;
    BoundModel model(config, torch::kFloat32, 7, compute);
    const Batch batch = random_batch(config, 4, 10);
    const torch::Tensor x = torch::randn({4, 10, config.width}).to(compute).set_requires_grad(true);
    const int64_t before = CountingAllocator::live_bytes();
    CountingAllocator::reset_peak();
    const torch::Tensor loss = head_of(model).forward(x, head_context(model, batch, true));
    return CountingAllocator::peak_bytes() - before;
  };
  for (const auto& [compute, bytes] : {std::pair{torch::kFloat32, 4}, std::pair{torch::kBFloat16, 2 + 4}}) {
    const int64_t saved = peak(40, compute) - peak(10, compute);
    EXPECT_NEAR(static_cast<double>(saved), 30.0 * 5000 * bytes, 0.02 * 30 * 5000 * bytes) << c10::toString(compute);
  }
}

TEST_P(HeadOf, LossStaysFiniteWhereTheTargetsProbabilityUnderflows) {
  const ModelConfig config = small_model(GetParam());
  BoundModel model(config);
  Batch batch = random_batch(config, 1, 1);
  const torch::Tensor x = torch::randn({1, 1, config.width});
  model.values.mul_(1000);
  const torch::NoGradGuard no_graph;
  const torch::Tensor logits = dynamic_cast<const Head&>(head_of(model)).logits(x.squeeze(1)).to(torch::kFloat64);
  batch.targets.fill_(logits.argmin().item<int64_t>());
  const double expected = (logits.logsumexp(1) - logits.min()).item<double>();
  ASSERT_GT(expected, 150.0);
  const torch::Tensor loss = head_of(model).forward(x, head_context(model, batch, false));
  EXPECT_NEAR(loss.item<double>(), expected, 1e-6 * expected);
}

TEST_P(HeadOf, VocabularyPaddingTakesNoPart) {
  for (const bool tied : {true, false}) {
    ModelConfig config = small_model(GetParam(), 0.1);
    config.tie_embeddings = tied;
    BoundModel model(config);
    const Batch batch = random_batch(config, 3, config.context);
    const torch::Tensor loss = run_stages(model.chain, batch);
    ParameterTable& table = model.chain.parameters();
    int padded = 0;
    for (int i = 0; i < table.size(); ++i) {
      if (table[i].live_rows == table[i].shape[0]) continue;
      ++padded;
      ASSERT_EQ(table[i].shape[0], 64);
      ASSERT_EQ(table[i].live_rows, 37);
      EXPECT_EQ(table[i].value.slice(0, 37).abs().max().item<float>(), 0.0f) << table[i].name;
      EXPECT_EQ(table[i].grad().slice(0, 37).abs().max().item<float>(), 0.0f) << table[i].name;
      EXPECT_GT(table[i].grad().slice(0, 0, 37).abs().max().item<float>(), 0.0f) << table[i].name;
      const torch::NoGradGuard no_graph;
      table[i].value.slice(0, 37).fill_(50);  // must not change anything
    }
    EXPECT_EQ(padded, tied ? 1 : 2);
    EXPECT_TRUE(loss.equal(run_stages(model.chain, batch)));
    EXPECT_EQ(model.chain.next_token_logits(batch.tokens).size(1), 37);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, HeadOf, testing::Values(Family::gpt2, Family::llama, Family::postnorm), family_name);

TEST(Head, SoftmaxOverItsOwnInputHasTheBitsOfASeparateOutput) {
  torch::Tensor logits = torch::randn({16, 50304});
  const torch::Tensor expected = at::softmax(logits, 1);
  at::_softmax_out(logits, logits, 1, false);
  EXPECT_TRUE(logits.equal(expected));
}

}  // namespace
}  // namespace reprise
