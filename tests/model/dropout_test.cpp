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

// What the kernel says of elements first … first + count of each sequence.
torch::Tensor drawn_by_kernel(DropoutAddress at, int64_t sequences, int64_t first, int64_t count, uint32_t threshold) {
  const torch::Tensor values = torch::ones({sequences, count});
  for (int64_t b = 0; b < sequences; ++b, ++at.sequence) {
    dropout_kernel(at, threshold, 1.0f, first, count, values[b].mutable_data_ptr<float>());
  }
  return values.eq(0);
}

TEST(Dropout, KernelsBitsDoNotDependOnWhereASequenceIsCut) {
  const DropoutAddress address = dropout_address(1, 2, 3, 4, 2);
  const uint32_t threshold = dropout_threshold(0.5);
  const torch::Tensor whole = drawn_by_kernel(address, 1, 0, 700, threshold);
  int64_t first = 0;
  for (const int64_t count : {1, 2, 253, 3, 300, 141}) {
    EXPECT_TRUE(whole.narrow(1, first, count).equal(drawn_by_kernel(address, 1, first, count, threshold))) << first;
    first += count;
  }
  ASSERT_EQ(first, 700);
}

TEST(Dropout, TensorOperationsDrawTheBitsOfTheKernel) {
  for (const int64_t sequence : {int64_t{0}, (int64_t{1} << 32) - 2, (int64_t{1} << 62) + 12345}) {
    for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {0, 4000}, {4096, 37}, {7, 9}}) {
      const DropoutAddress address = dropout_address(77, (int64_t{1} << 35) + 1, sequence, 12345, 2);
      for (const uint32_t threshold : {dropout_threshold(0.1), dropout_threshold(0.9)}) {
        EXPECT_TRUE(drawn_by_tensors(address, 3, first, count, threshold, torch::kCPU)
                        .equal(drawn_by_kernel(address, 3, first, count, threshold)))
            << sequence << ", " << first << " + " << count << ", " << threshold;
      }
    }
  }
}

TEST(Dropout, PassesOverALongSequenceMakeOneMask) {
  const int64_t sequences = 3, length = 300 * 201;  // more elements than a pass takes, cut within blocks of four
  const StageContext context = at_step(3, 100);
  const torch::Tensor falls =
      drawn_by_kernel(dropout_address(9, 3, 100, 1, 1), sequences, 0, length, dropout_threshold(0.25));
  EXPECT_TRUE(mask(context, {sequences, 300, 201}).view({sequences, length}).eq(0).equal(falls));
}

TEST(Dropout, NarrowTypesAreComputedInFp32AndRoundedOnce) {
  const StageContext context = at_step(2);
  const Dropout dropout{0.3, DropoutSite::attention};
  for (const auto type : {torch::kBFloat16, torch::kFloat16}) {
    const torch::Tensor residual = torch::randn({2, 5, 64}).to(type), value = torch::randn({2, 5, 64}).to(type);
    torch::Tensor wide = value.to(torch::kFloat32), narrow = value.clone();
    dropout.add_residual_(wide, residual.to(torch::kFloat32), context);
    dropout.add_residual_(narrow, residual, context);
    EXPECT_TRUE(narrow.equal(wide.to(type))) << c10::toString(type);
  }
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
