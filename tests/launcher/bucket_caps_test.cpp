#include <gtest/gtest.h>

#include "launcher/joint_choice.h"
#include "launcher/plan_choice.h"

namespace reprise {
namespace {

constexpr int64_t kMiB = 1 << 20, kKiB = 1 << 10;
constexpr int kStages = 10;
constexpr int64_t kElements = kMiB / 2;  // of a stage: 2 MiB

FlatLayout layout() {
  std::vector<FlatEntry> entries;
  for (int point = 0; point < 2 * kStages; ++point) entries.push_back({kElements / 2, point});  // half of them early
  return FlatLayout(entries);
}

CostTable table(double latency_seconds, double bytes_per_second) {
  CostTable costs;
  for (int s = 0; s < kStages; ++s) {
    StageCost stage{.name = "stage", .layer = s / 2, .recomputable = true};
    stage.forward_seconds = 0.01;
    stage.backward_seconds = 0.02;
    costs.stages.push_back(stage);
  }
  costs.wire = WireModel{latency_seconds, bytes_per_second};
  return costs;
}

// What auto chooses, and the predicted step.
std::pair<BucketCaps, double> choose(const CostTable& costs, int64_t first = kAuto) {
  Config config;
  config.checkpointing.policy = "none";
  config.distributed.first_bucket_bytes = first;
  const FlatLayout flat = layout();
  const JointChoice choice = choose_jointly(config, 2, 1, &flat, [&](const Config&) { return costs; });
  return {{config.distributed.first_bucket_bytes, config.distributed.bucket_bytes},
          choice.planned.predicted.step_seconds};
}

TEST(BucketChoice, NoCapsGiveAFasterStep) {
  for (const double latency : {0.0, 1e-4, 5e-3}) {
    for (const double bandwidth : {5e7, 2e8, 1e9}) {
      CostTable costs = table(latency, bandwidth);
      const auto [chosen, seconds] = choose(costs);
      const FlatLayout flat = layout();
      for (int64_t bytes = 256 * kKiB; bytes <= 64 * kMiB; bytes *= 2) {
        cut_buckets(costs, flat, {bytes, bytes});
        const Plan plan = plan_of({.policy = "none"}, shapes_of(costs));
        EXPECT_LE(seconds, 1.0011 * predict(costs, plan).step_seconds) << latency << " " << bandwidth << " " << bytes;
      }
    }
  }
}

TEST(BucketChoice, ABucketOfEarlyGradientsAloneIsEarly) {
  CostTable costs = table(0, 1e8);
  cut_buckets(costs, layout(), {kMiB / 2, kMiB});  // the first: half of the last stage's early half
  for (size_t b = 0; b < costs.buckets.size(); ++b) {
    const BucketCost& bucket = costs.buckets[b];
    EXPECT_EQ(bucket.point(), std::max<int>(0, 2 * kStages - 1 - static_cast<int>(b))) << b;
    EXPECT_EQ(bucket.lowest, bucket.point() / 2);
  }
  EXPECT_EQ(costs.buckets.size(), 2u * kStages + 1);
}

TEST(BucketChoice, SlowMessagesMakeWideBucketsAndSlowBytesNarrowOnes) {
  EXPECT_GE(choose(table(0.5, 1e12)).first.bytes, 32 * kMiB);
  EXPECT_LE(choose(table(0, 1e8)).first.bytes, 4 * kMiB);
}

TEST(BucketChoice, WhatIsGivenStands) {
  EXPECT_EQ(choose(table(0, 1e8), 3 * kMiB).first.first_bytes, 3 * kMiB);
  Config config;
  config.distributed.bucket_bytes = 5 * kMiB;
  for (const BucketCaps& caps : bucket_caps(config, true)) EXPECT_EQ(caps.bytes, 5 * kMiB);
}

TEST(BucketChoice, WithoutAWireTheWidest) {
  const std::vector<BucketCaps> caps = bucket_caps(Config{}, false);
  ASSERT_EQ(caps.size(), 1u);
  EXPECT_EQ(caps[0].bytes, 64 * kMiB);
}

}  // namespace
}  // namespace reprise
