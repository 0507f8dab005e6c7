#include "training/loss_scaler.h"

#include <gtest/gtest.h>

#include <limits>

#include "distributed/gradient_reducer.h"
#include "tests/distributed/threads_communicator.h"
#include "training/optimizer.h"

namespace reprise {
namespace {

torch::Tensor found(bool inf) { return torch::full({}, inf ? 1.0 : 0.0, torch::kFloat32); }

TEST(LossScaler, HalvesAtAnOverflowAndDoublesAfterAnIntervalOfGoodUpdates) {
  LossScaler scaler(true);
  EXPECT_EQ(scaler.read(), LossScaler::kFirstScale);
  scaler.update(found(true));
  scaler.update(found(true));
  EXPECT_EQ(scaler.read(), LossScaler::kFirstScale / 4);
  for (int64_t i = 1; i < LossScaler::kGrowthInterval; ++i) scaler.update(found(false));
  EXPECT_EQ(scaler.read(), LossScaler::kFirstScale / 4);
  scaler.update(found(false));
  EXPECT_EQ(scaler.read(), LossScaler::kFirstScale / 2);
}

TEST(LossScaler, AnOverflowStartsTheCountAnew) {
  LossScaler scaler(true);
  for (int64_t i = 1; i < LossScaler::kGrowthInterval; ++i) scaler.update(found(false));
  scaler.update(found(true));
  for (int64_t i = 1; i < LossScaler::kGrowthInterval; ++i) scaler.update(found(false));
  EXPECT_EQ(scaler.read(), LossScaler::kFirstScale / 2);
}

TEST(LossScaler, StaysBetweenOneAndItsLargest) {
  LossScaler scaler(true);
  for (int i = 0; i < 200; ++i) scaler.update(found(true));
  EXPECT_EQ(scaler.read(), 1);
  for (int64_t i = 0; i < 30 * LossScaler::kGrowthInterval; ++i) scaler.update(found(false));
  EXPECT_EQ(scaler.read(), LossScaler::kLargestScale);
}

TEST(LossScaler, OffStaysAtOne) {
  LossScaler scaler(false);
  scaler.update(found(true));
  EXPECT_EQ(scaler.read(), 1);
  EXPECT_FALSE(scaler.scale().defined());
}

// Scale, backward, reduce, check, skip or update, new scale: as a step does it, on two ranks of which one overflows.
TEST(LossScaler, AnOverflowOnOneRankSkipsTheUpdateOnAll) {
  run_as_threads(2, [](Communicator& communicator) {
    constexpr int64_t kNumel = 64;
    torch::Tensor parameters = torch::ones({kNumel}), gradients = torch::zeros({kNumel});
    GradientReducer reducer(communicator, gradients, {{0, kNumel, 0, 0}}, 1, true);
    AdamW optimizer(parameters, gradients, {{0, kNumel, false}}, {.clip_norm = 0});
    LossScaler scaler(true);
    for (int step = 0; step < 3; ++step) {
      const torch::Tensor before = parameters.clone(), scale = scaler.scale().clone();
      const bool overflows = step == 1;
      reducer.begin_step();
      gradients.add_(scale * 1e-3);
      if (overflows && communicator.rank() == 1) gradients[7] = std::numeric_limits<float>::infinity();
      reducer.point_final(0);
      reducer.finish();
      const GradientCheck check = optimizer.check_and_clip(scaler.scale());
      optimizer.step(0.1, check);
      scaler.update(check.found_inf);
      EXPECT_EQ(torch::equal(parameters, before), overflows) << "step " << step;
      EXPECT_TRUE(torch::equal(scaler.scale(), overflows ? scale / 2 : scale)) << "step " << step;
      if (overflows) continue;
      EXPECT_NEAR(check.norm.item<double>(), 2e-3 * std::sqrt(kNumel), 1e-6) << "unscaled, of both ranks";
    }
  });
}

}  // namespace
}  // namespace reprise
