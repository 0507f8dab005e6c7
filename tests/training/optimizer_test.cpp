#include "training/optimizer.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>
#include <torch/utils.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace reprise {
namespace {

using torch::Tensor;

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.sizes() == b.sizes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

Tensor random(int64_t numel, uint64_t seed, torch::Dtype dtype = torch::kFloat32) {
  torch::manual_seed(seed);
  return torch::randn({numel}, torch::kFloat64).to(dtype);
}

// A model of one flat tensor; every call of train() makes one update with its own gradients.
struct Flat {
  Flat(int64_t numel, const std::vector<FlatRange>& ranges, const OptimizerSetting& setting,
       torch::Dtype dtype = torch::kFloat32)
      : parameters(random(numel, 1, dtype)),
        gradients(torch::zeros({numel}, dtype)),
        optimizer(parameters, gradients, ranges, setting) {}

  void train(const Tensor& gradient, double learning_rate = 1e-2) {
    gradients.copy_(gradient);
    optimizer.step(learning_rate, optimizer.check_and_clip());
  }

  Tensor parameters, gradients;
  AdamW optimizer;
};

Tensor gradient_of_step(int64_t numel, int step, torch::Dtype dtype = torch::kFloat32) {
  return random(numel, 100 + static_cast<uint64_t>(step), dtype);
}

void expect_agrees_with_torch(torch::Dtype dtype, double tolerance) {
  constexpr int64_t kNumel = 1000, kCut = 608;
  const OptimizerSetting setting{.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip_norm = 2.0};
  Flat flat(kNumel, {{0, kCut, true}, {kCut, kNumel, false}}, setting, dtype);
  const Tensor initial = flat.parameters.clone();
  const Tensor decayed = initial.narrow(0, 0, kCut).clone().requires_grad_();
  const Tensor free = initial.narrow(0, kCut, kNumel - kCut).clone().requires_grad_();
  const auto options = [&](double decay) {
    return torch::optim::AdamWOptions(1e-2).betas({0.9, 0.95}).eps(1e-8).weight_decay(decay);
  };
  torch::optim::AdamW with_decay({decayed}, options(0.1)), without_decay({free}, options(0.0));

  for (int step = 0; step < 5; ++step) {
    const Tensor gradient = gradient_of_step(kNumel, step, dtype) * (step == 3 ? 1e-3 : 1.0);  // step 3 is not clipped
    const Tensor clipped = gradient / std::max(1.0, gradient.norm().item<double>() / 2.0);
    flat.train(gradient);
    decayed.mutable_grad() = clipped.narrow(0, 0, kCut).clone();
    free.mutable_grad() = clipped.narrow(0, kCut, kNumel - kCut).clone();
    with_decay.step();
    without_decay.step();
    EXPECT_TRUE(torch::allclose(flat.gradients, clipped, 1e-6, 0)) << "step " << step;
    EXPECT_TRUE(torch::allclose(flat.parameters, torch::cat({decayed, free}).detach(), tolerance, tolerance))
        << "step " << step;
  }
}

TEST(AdamW, AgreesWithTheReferenceInSinglePrecision) { expect_agrees_with_torch(torch::kFloat32, 1e-6); }

// The clipping factor is a float, hence 1e-7 and not 1e-14.
TEST(AdamW, AgreesWithTheReferenceInDoublePrecision) { expect_agrees_with_torch(torch::kFloat64, 1e-7); }

TEST(AdamW, RangesCutAtMultiplesOf16GiveTheBitsOfOneCall) {
  constexpr int64_t kNumel = 16 * 257 + 5;
  const std::vector<FlatRange> cut{
      {0, 16, true}, {16, 48, true}, {48, 1024, true}, {1024, 1040, true}, {1040, kNumel, true}};
  Flat whole(kNumel, {{0, kNumel, true}}, {}), pieces(kNumel, cut, {});
  for (int step = 0; step < 4; ++step) {
    whole.train(gradient_of_step(kNumel, step));
    pieces.train(gradient_of_step(kNumel, step));
    EXPECT_TRUE(same_bits(whole.parameters, pieces.parameters)) << "step " << step;
  }
}

TEST(AdamW, BitsDoNotDependOnTheNumberOfThreads) {
  constexpr int64_t kNumel = 300'000;
  const int before = torch::get_num_threads();
  const auto trained = [&](int threads) {
    torch::set_num_threads(threads);
    Flat flat(kNumel, {{0, 150'000, true}, {150'000, kNumel, false}}, {});
    for (int step = 0; step < 3; ++step) flat.train(gradient_of_step(kNumel, step));
    return flat.parameters;
  };
  EXPECT_TRUE(same_bits(trained(1), trained(3)));
  torch::set_num_threads(before);
}

TEST(AdamW, DecaysOnlyWhereToldAndLeavesTheRestAlone) {
  const OptimizerSetting setting{.weight_decay = 0.5};
  Flat flat(64, {{0, 16, true}, {32, 48, false}}, setting);
  const Tensor initial = flat.parameters.clone();
  flat.train(torch::zeros({64}), 0.1);  // without a gradient only the decay moves a parameter
  EXPECT_TRUE(torch::allclose(flat.parameters.narrow(0, 0, 16), initial.narrow(0, 0, 16) * 0.95, 1e-6, 0));
  EXPECT_TRUE(same_bits(flat.parameters.narrow(0, 16, 48), initial.narrow(0, 16, 48)));
  flat.train(torch::ones({64}), 0.1);
  EXPECT_TRUE(same_bits(flat.parameters.narrow(0, 16, 16), initial.narrow(0, 16, 16)));
  EXPECT_FALSE(flat.parameters.narrow(0, 32, 16).equal(initial.narrow(0, 32, 16)));
}

TEST(AdamW, ANonFiniteGradientLeavesParametersMomentsAndCountAsTheyWere) {
  constexpr int64_t kNumel = 100;
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity, 1e20f}) {
    SCOPED_TRACE(bad);
    Flat skipping(kNumel, {{0, 64, true}, {64, kNumel, false}}, {}),
        spared(kNumel, {{0, 64, true}, {64, kNumel, false}}, {});
    skipping.train(gradient_of_step(kNumel, 0));
    spared.train(gradient_of_step(kNumel, 0));

    Tensor poisoned = gradient_of_step(kNumel, 1);
    poisoned[77] = bad;
    skipping.train(poisoned);
    EXPECT_EQ(skipping.optimizer.check_and_clip().found_inf.item<float>(), 1);
    EXPECT_TRUE(same_bits(skipping.parameters, spared.parameters));
    for (int step = 2; step < 5; ++step) {  // moments and count show in the updates that follow
      skipping.train(gradient_of_step(kNumel, step));
      spared.train(gradient_of_step(kNumel, step));
      EXPECT_TRUE(same_bits(skipping.parameters, spared.parameters)) << "step " << step;
    }
  }
}

TEST(AdamW, TheCheckTellsNormVerdictAndScale) {
  Flat flat(16, {{0, 16, true}}, {.clip_norm = 2.0});
  flat.gradients.fill_(2.0);
  GradientCheck check = flat.optimizer.check_and_clip();
  EXPECT_EQ(check.norm.item<float>(), 8.0f);
  EXPECT_EQ(check.scale.item<float>(), 4.0f);
  EXPECT_EQ(check.found_inf.item<float>(), 0.0f);
  flat.gradients.fill_(0.25);
  EXPECT_EQ(flat.optimizer.check_and_clip().scale.item<float>(), 1.0f);  // below the limit nothing is scaled
}

TEST(AdamW, ANormAboveTheLimitIsSkippedAndIsNoOverflow) {
  Flat flat(16, {{0, 16, true}}, {.clip_norm = 2.0});
  flat.gradients.fill_(2.0);
  const auto verdicts = [&](double limit) {
    const GradientCheck check = flat.optimizer.check_and_clip({}, limit);
    return std::pair(check.found_inf.item<float>(), check.non_finite.item<float>());
  };
  EXPECT_EQ(verdicts(8.0), std::pair(0.0f, 0.0f));
  EXPECT_EQ(verdicts(7.999), std::pair(1.0f, 0.0f));
  flat.gradients[3] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(verdicts(8.0), std::pair(1.0f, 1.0f));
  const Tensor before = flat.parameters.clone();
  flat.gradients.fill_(2.0);
  flat.optimizer.step(0.1, flat.optimizer.check_and_clip({}, 7.0));
  EXPECT_TRUE(same_bits(flat.parameters, before));
}

TEST(AdamW, AClipNormOfZeroClipsNothing) {
  Flat flat(16, {{0, 16, true}}, {.clip_norm = 0});
  flat.gradients.fill_(1e6);
  EXPECT_EQ(flat.optimizer.check_and_clip().scale.item<float>(), 1.0f);
}

TEST(AdamW, RefusesBadRanges) {
  const auto with = [](const std::vector<FlatRange>& ranges) { Flat(64, ranges, {}); };
  EXPECT_NO_THROW(with({{0, 64, true}}));
  EXPECT_THROW(with({{8, 64, true}}), std::invalid_argument);
  EXPECT_THROW(with({{0, 80, true}}), std::invalid_argument);
  EXPECT_THROW(with({{16, 16, true}}), std::invalid_argument);
  EXPECT_THROW(with({{0, 32, true}, {16, 64, false}}), std::invalid_argument);
  EXPECT_THROW(with({{32, 64, true}, {0, 32, false}}), std::invalid_argument);
}

OptimizerSetting scheduled(Schedule schedule, int64_t warmup) {
  return {.learning_rate = 2.0, .schedule = schedule, .warmup_steps = warmup, .final_ratio = 0.1};
}

TEST(LearningRate, WarmsUpFromOnePartOfThePeakToThePeak) {
  for (const Schedule schedule : {Schedule::constant, Schedule::linear, Schedule::cosine, Schedule::wsd}) {
    const OptimizerSetting setting = scheduled(schedule, 10);
    EXPECT_DOUBLE_EQ(learning_rate_at(setting, 0, 100), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate_at(setting, 4, 100), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(setting, 9, 100), 2.0);
    EXPECT_LE(learning_rate_at(setting, 10, 100), 2.0);
    EXPECT_GT(learning_rate_at(setting, 10, 100), 1.95);
  }
}

TEST(LearningRate, EndsAtTheFinalRatioAndStaysThere) {
  for (const Schedule schedule : {Schedule::linear, Schedule::cosine, Schedule::wsd}) {
    for (const int64_t warmup : {0, 7, 99}) {
      const OptimizerSetting setting = scheduled(schedule, warmup);
      EXPECT_NEAR(learning_rate_at(setting, 99, 100), 0.2, 1e-12);
      EXPECT_NEAR(learning_rate_at(setting, 150, 100), 0.2, 1e-12);
    }
    EXPECT_NEAR(learning_rate_at(scheduled(schedule, 0), 0, 1), 0.2, 1e-12);
  }
  EXPECT_DOUBLE_EQ(learning_rate_at(scheduled(Schedule::constant, 0), 99, 100), 2.0);
}

TEST(LearningRate, FollowsTheStatedFormulas) {
  // Half-way after a warm-up of 20 of 100 steps: p = (60 - 20) / 80.
  EXPECT_DOUBLE_EQ(learning_rate_at(scheduled(Schedule::linear, 20), 59, 100), 2.0 * (1 - 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(learning_rate_at(scheduled(Schedule::cosine, 20), 59, 100), 2.0 * (0.1 + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(learning_rate_at(scheduled(Schedule::cosine, 20), 39, 100),
                   2.0 * (0.1 + 0.9 * (1 + std::cos(M_PI / 4)) / 2));
  EXPECT_DOUBLE_EQ(learning_rate_at(scheduled(Schedule::wsd, 20), 79, 100), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(scheduled(Schedule::wsd, 20), 89, 100), 2.0 * (1 - 0.9 * 0.5));
}

TEST(LearningRate, TheLastFifthNeverBeginsInTheWarmUp) {
  EXPECT_DOUBLE_EQ(learning_rate_at(scheduled(Schedule::wsd, 90), 94, 100), 2.0 * (1 - 0.9 * 0.5));
}

TEST(LearningRate, ARunInsideItsWarmUpOnlyWarmsUp) {
  EXPECT_DOUBLE_EQ(learning_rate_at(scheduled(Schedule::cosine, 50), 19, 20), 0.8);
}

}  // namespace
}  // namespace reprise
