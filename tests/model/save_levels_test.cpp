#include <gtest/gtest.h>

#include "tests/model/bound_model.h"
#include "tests/model/counting_allocator.h"

namespace reprise {
namespace {

class SaveLevels : public testing::TestWithParam<Family> {
 protected:
  static void SetUpTestSuite() { CountingAllocator::install(); }
};

// Loss and gradients after two accumulated micro-batches.
std::vector<torch::Tensor> train(BoundModel& model, const std::vector<Batch>& batches, SaveLevel save) {
  model.gradients.zero_();
  std::vector<torch::Tensor> results;
  for (const Batch& batch : batches) results.push_back(run_stages(model.chain, batch, save, 0.25));
  results.push_back(model.gradients.clone());
  return results;
}

void expect_same_bits(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << "result " << i;
}

TEST_P(SaveLevels, GiveTheSameBitsAndSoDoRepeats) {
  torch::manual_seed(4);
  const ModelConfig config = small_model(GetParam(), 0.1);
  BoundModel model(config);
  const std::vector<Batch> batches{random_batch(config, 3, config.context), random_batch(config, 3, config.context)};
  const std::vector<torch::Tensor> all = train(model, batches, SaveLevel::all);
  EXPECT_TRUE(all.back().isfinite().all().item<bool>());
  EXPECT_GT(all.back().abs().max().item<float>(), 0.0f);
  expect_same_bits(all, train(model, batches, SaveLevel::all));
  expect_same_bits(all, train(model, batches, SaveLevel::lean));
  expect_same_bits(all, train(model, batches, SaveLevel::input));
}

TEST_P(SaveLevels, ForwardHasTheSameBitsWithoutAGraph) {
  torch::manual_seed(4);
  const ModelConfig config = small_model(GetParam(), 0.1);
  BoundModel model(config);
  const Batch batch = random_batch(config, 2, config.context);
  torch::Tensor x = batch.tokens;
  for (int s = 0; s + 1 < model.chain.size(); ++s) {
    const torch::Tensor with_graph = model.chain[s].forward(x, context_of(batch, s, SaveLevel::all, 1.0));
    const torch::NoGradGuard no_graph;
    const torch::Tensor without = model.chain[s].forward(x, context_of(batch, s, SaveLevel::all, 1.0));
    EXPECT_TRUE(with_graph.requires_grad());
    EXPECT_FALSE(without.requires_grad());
    EXPECT_TRUE(with_graph.equal(without)) << model.chain[s].name;
    x = with_graph.detach();
  }
}

// Norm first: it holds one value in place of an output, and its backward has what it needs.
TEST_P(SaveLevels, AnEarlyStopLeavesOutTheOutputAndGivesTheSameGradients) {
  torch::manual_seed(4);
  const ModelConfig config = small_model(GetParam(), 0.1);
  BoundModel model(config);
  const Batch batch = random_batch(config, 2, config.context);
  for (const SaveLevel level : {SaveLevel::all, SaveLevel::lean, SaveLevel::input}) {
    for (const int stage : {1, 2}) {
      const torch::Tensor values = torch::randn({2, config.context, config.width}), grad = torch::randn_like(values);
      std::vector<torch::Tensor> results;
      for (const bool stops : {false, true}) {
        model.gradients.zero_();
        StageContext context = context_of(batch, stage, level, 1.0);
        context.early_stop = stops;
        const torch::Tensor x = values.clone().set_requires_grad(true);
        const torch::Tensor output = model.chain[stage].forward(x, context);
        EXPECT_EQ(output.sizes(), x.sizes());
        const bool is_left_out = output.storage().nbytes() == sizeof(float);
        EXPECT_EQ(is_left_out, stops && config.family != Family::postnorm) << model.chain[stage].name;
        torch::autograd::backward({output}, {grad});
        results.push_back(torch::cat({x.grad().flatten(), model.gradients}));
      }
      EXPECT_TRUE(results[0].equal(results[1])) << model.chain[stage].name;
    }
  }
}

TEST_P(SaveLevels, GradientsOfEarlyParametersAreFinalWhenItSaysSoAndTheOthersHaveNone) {
  torch::manual_seed(4);
  const ModelConfig config = small_model(GetParam(), 0.1);
  BoundModel model(config);
  const Batch batch = random_batch(config, 2, config.context);
  const ParameterTable& table = model.chain.parameters();
  for (const SaveLevel level : {SaveLevel::all, SaveLevel::lean, SaveLevel::input}) {
    for (const int stage : {1, 2}) {
      model.gradients.zero_();
      std::vector<torch::Tensor> then;
      StageContext context = context_of(batch, stage, level, 1.0);
      context.early_final = [&] {
        for (int i = 0; i < table.size(); ++i) then.push_back(table[i].grad().clone());
      };
      const torch::Tensor x = torch::randn({2, config.context, config.width}).set_requires_grad(true);
      const torch::Tensor output = model.chain[stage].forward(x, context);
      EXPECT_TRUE(then.empty());
      torch::autograd::backward({output}, {torch::randn_like(output)});
      ASSERT_EQ(then.size(), static_cast<size_t>(table.size())) << "once";
      for (int i = 0; i < table.size(); ++i) {
        const Parameter& parameter = table[i];
        if (parameter.lowest_stage() != stage) continue;
        const bool has_gradient = then[static_cast<size_t>(i)].any().item<bool>();
        const bool is_final = then[static_cast<size_t>(i)].equal(parameter.grad());
        EXPECT_TRUE(is_final || !parameter.is_early) << parameter.name;
        // A norm behind the sum has its gradients first, but travels with the rest.
        if (config.family == Family::postnorm && parameter.is_wide) continue;
        EXPECT_EQ(has_gradient, parameter.is_early) << parameter.name;
      }
    }
  }
}

// Elements that a sub-block holds per token between forward and backward, its own input included; the table of
// docs/planner.md.
int64_t kept_elements(const ModelConfig& c, bool is_attention, SaveLevel level) {
  const int64_t C = c.width, F = c.feed_forward, H = c.heads, P = (c.heads + 2 * c.kv_heads) * c.head_width();
  if (c.family == Family::postnorm) {
    if (level == SaveLevel::input) return 2 * C + 2;
    return is_attention ? 3 * C + P + H + 2 : 2 * C + F + 2;
  }
  const bool is_llama = c.family == Family::llama;
  const int64_t statistics = is_llama ? 1 : 2, projections = is_llama ? 2 : 1;
  if (level == SaveLevel::input) return C;
  if (level == SaveLevel::lean) return is_attention ? 2 * C + P + H : C + projections * F;
  return is_attention ? 3 * C + P + H + statistics : 2 * C + (projections + 1) * F + statistics;
}

TEST_P(SaveLevels, KeepTheStatedBytes) {
  const ModelConfig config = small_model(GetParam(), 0.1).resolved();
  BoundModel model(config);
  const Batch batch = random_batch(config, 3, config.context);
  const int64_t tokens = batch.tokens.numel();
  for (const SaveLevel level : {SaveLevel::all, SaveLevel::lean, SaveLevel::input}) {
    for (const int stage : {1, 2}) {
      const int64_t before = CountingAllocator::live_bytes();
      const torch::Tensor input = torch::randn({3, config.context, config.width}).set_requires_grad(true);
      torch::Tensor output = model.chain[stage].forward(input, context_of(batch, stage, level, 1.0));
      const int64_t output_bytes = output.numel() * 4;
      const int64_t kept = CountingAllocator::live_bytes() - before - output_bytes;
      EXPECT_EQ(kept, 4 * tokens * kept_elements(config, stage == 1, level))
          << model.chain[stage].name << " level " << static_cast<int>(level);
      torch::autograd::backward({output}, {torch::ones_like(output)});
      EXPECT_EQ(CountingAllocator::live_bytes() - before, 3 * output_bytes) << "input, its gradient and output remain";
      const torch::NoGradGuard no_graph;
      output = model.chain[stage].forward(input, context_of(batch, stage, level, 1.0));
      EXPECT_EQ(CountingAllocator::live_bytes() - before, 3 * output_bytes) << "nothing is kept without a graph";
    }
  }
}

TEST_P(SaveLevels, EmbeddingAndHeadKeepTheSameAtEveryLevel) {
  const ModelConfig config = small_model(GetParam(), 0.1).resolved();
  BoundModel model(config);
  const Batch batch = random_batch(config, 3, config.context);
  const int head = model.chain.size() - 1;
  for (const SaveLevel level : {SaveLevel::all, SaveLevel::lean, SaveLevel::input}) {
    int64_t before = CountingAllocator::live_bytes();
    const torch::Tensor x = model.chain[0].forward(batch.tokens, context_of(batch, 0, level, 1.0));
    EXPECT_EQ(CountingAllocator::live_bytes() - before, x.numel() * 4) << "the tokens are the batch's";
    const torch::Tensor input = x.detach().set_requires_grad(true);
    before = CountingAllocator::live_bytes();
    torch::Tensor loss = model.chain[head].forward(input, context_of(batch, head, level, 1.0));
    EXPECT_EQ(CountingAllocator::live_bytes() - before, input.numel() * 4 + 4) << "the input's gradient and the loss";
    loss.backward();
    EXPECT_EQ(CountingAllocator::live_bytes() - before, input.numel() * 4 + 4) << "handed out, not copied";
  }
}

TEST_P(SaveLevels, ASecondBackwardThrows) {
  const ModelConfig config = small_model(GetParam());
  BoundModel model(config);
  const Batch batch = random_batch(config, 1, config.context);
  const torch::Tensor input = torch::randn({1, config.context, config.width}).set_requires_grad(true);
  const torch::Tensor output = model.chain[1].forward(input, context_of(batch, 1, SaveLevel::all, 1.0));
  const torch::Tensor grad = torch::ones_like(output);
  torch::autograd::backward({output}, {grad});
  EXPECT_THROW(torch::autograd::backward({output}, {grad}), std::exception);
}

INSTANTIATE_TEST_SUITE_P(Families, SaveLevels, testing::Values(Family::gpt2, Family::llama, Family::postnorm),
                         family_name);

}  // namespace
}  // namespace reprise
