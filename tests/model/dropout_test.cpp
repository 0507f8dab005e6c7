#include "model/dropout.h"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>

#include "model/philox.h"

namespace reprise {
namespace {

StageContext at_step(int64_t step, int64_t first_sequence = 0, int stage = 1) {
  StageContext context;
  context.seed = 9;
  context.step = step;
  context.first_sequence = first_sequence;
  context.stage = stage;
  context.training = true;
  return context;
}

// What dropout makes of ones: 0 where dropped, 1/(1 − rate) where kept.
torch::Tensor mask(const StageContext& context, std::vector<int64_t> shape = {4, 6, 10}, double rate = 0.25,
                   DropoutSite site = DropoutSite::attention) {
  torch::Tensor value = torch::ones(shape);
  Dropout{rate, site}.add_residual_(value, {}, context);
  return value;
}

// Known answers of the authors' own Random123 distribution (kat_vectors, philox 4x32 with 10 rounds).
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, 0), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Dropout, FollowsItsFormulaElementByElement) {
  const int64_t first_sequence = (int64_t{1} << 40) + 3, step = (int64_t{1} << 35) + 1;
  const torch::Tensor drawn = mask(at_step(step, first_sequence), {3, 7, 5}).view({3, 35});
  for (int64_t b = 0; b < 3; ++b) {
    const uint64_t sequence = static_cast<uint64_t>(first_sequence + b);
    const uint64_t key = mix64(mix64(9) + static_cast<uint64_t>(step));
    for (int64_t e = 0; e < 35; ++e) {
      const PhiloxBlock block = philox4x32_10({static_cast<uint32_t>(e / 4), 4 * 1 + 1, static_cast<uint32_t>(sequence),
                                               static_cast<uint32_t>(sequence >> 32)},
                                              key);
      const bool is_kept = block[static_cast<size_t>(e % 4)] >= 0x40000000u;
      ASSERT_EQ(drawn[b][e].item<float>(), is_kept ? 1.0f / 0.75f : 0.0f) << b << ", " << e;
    }
  }
}

TEST(Dropout, MasksDoNotDependOnTheSplitIntoMicroBatches) {
  const torch::Tensor whole = mask(at_step(3, 100), {4, 6, 10});
  EXPECT_TRUE(whole.slice(0, 0, 1).equal(mask(at_step(3, 100), {1, 6, 10})));
  EXPECT_TRUE(whole.slice(0, 1, 4).equal(mask(at_step(3, 101), {3, 6, 10})));
}

TEST(Dropout, MasksDoNotDependOnTheNumberOfThreads) {
  const std::vector<int64_t> shape{5, 63, 201};  // enough elements for several threads, cut within blocks of four
  const int threads = torch::get_num_threads();
  torch::set_num_threads(1);
  const torch::Tensor one = mask(at_step(3), shape);
  for (const int count : {2, 3, 5}) {
    torch::set_num_threads(count);
    EXPECT_TRUE(one.equal(mask(at_step(3), shape))) << count;
  }
  torch::set_num_threads(threads);
}

TEST(Dropout, KernelsBitsDoNotDependOnWhereASequenceIsCut) {
  const DropoutAddress address = dropout_address(1, 2, 3, 4, 2);
  const uint32_t threshold = dropout_threshold(0.5);
  const std::vector<double> value(700, 1.5), residual(700, 0.25);
  std::vector<double> whole(700), parts(700);
  dropout_kernel<double>(address, threshold, 2.0, 0, 700, value.data(), residual.data(), whole.data());
  int64_t first = 0;
  for (const int64_t count : {1, 2, 253, 3, 300, 141}) {
    dropout_kernel<double>(address, threshold, 2.0, first, count, value.data() + first, residual.data() + first,
                           parts.data() + first);
    first += count;
  }
  ASSERT_EQ(first, 700);
  EXPECT_EQ(whole, parts);
}

TEST(Dropout, MasksDifferBetweenStepsStagesSitesSequencesAndSeeds) {
  const torch::Tensor base = mask(at_step(3));
  StageContext other_seed = at_step(3);
  other_seed.seed = 10;
  for (const torch::Tensor& other : {mask(at_step(4)), mask(at_step(3, 1)), mask(at_step(3, 0, 2)),
                                     mask(at_step(3 + (int64_t{1} << 32))), mask(at_step(3, int64_t{1} << 32)),
                                     mask(other_seed), mask(at_step(3), {4, 6, 10}, 0.25, DropoutSite::feed_forward)}) {
    const double agreement = (base == other).to(torch::kFloat64).mean().item<double>();
    EXPECT_NEAR(agreement, 0.75 * 0.75 + 0.25 * 0.25, 0.15);
  }
}

TEST(Dropout, DropsAtItsRateAndKeepsTheMean) {
  for (const double rate : {0.1, 0.5, 0.9}) {
    const std::vector<int64_t> shape{8, 128, 128};
    const torch::Tensor drawn = mask(at_step(1), shape, rate);
    const double n = static_cast<double>(drawn.numel()), deviation = std::sqrt(rate * (1 - rate) / n);
    EXPECT_NEAR((drawn == 0).sum().item<double>() / n, rate, 5 * deviation);
    EXPECT_EQ(drawn.max().item<float>(), static_cast<float>(1 / (1 - rate)));
  }
}

TEST(Dropout, AddsTheResidualAndRepeatsItsMaskInTheBackward) {
  const StageContext context = at_step(6);
  const Dropout dropout{0.25, DropoutSite::attention};
  const torch::Tensor drawn = mask(context), residual = torch::randn({4, 6, 10}), grad = torch::randn({4, 6, 10});
  torch::Tensor value = torch::randn({4, 6, 10});
  const torch::Tensor expected = residual + value * drawn;
  dropout.add_residual_(value, residual, context);
  EXPECT_TRUE(value.equal(expected));
  EXPECT_TRUE(dropout.backward(grad, context).equal(grad * drawn));
}

TEST(Dropout, IsOffInEvaluation) {
  StageContext context = at_step(6);
  context.training = false;
  torch::Tensor value = torch::randn({2, 3, 4});
  const torch::Tensor residual = torch::randn({2, 3, 4}), expected = residual + value;
  const Dropout dropout{0.25, DropoutSite::attention};
  dropout.add_residual_(value, residual, context);
  EXPECT_TRUE(value.equal(expected));
  EXPECT_TRUE(dropout.backward(residual, context).is_same(residual));
}

}  // namespace
}  // namespace reprise
