// The cost table that the profiler measures predicts what the executor then does.
#include "checkpointing/profiler.h"

#include <gtest/gtest.h>

#include "checkpointing/memory_meter.h"
#include "checkpointing/policies.h"
#include "checkpointing/segment_executor.h"
#include "checkpointing/timeline.h"
#include "tests/model/bound_model.h"

namespace reprise {
namespace {

ModelConfig model_of(Family family, int layers) {
  ModelConfig config = small_model(family, /*dropout=*/0.1);
  config.layers = layers;
  config.width = 32;
  config.feed_forward = 0;
  config.context = 48;
  config.vocabulary = 257;
  return config;
}

constexpr int64_t kSequences = 2, kTokens = 48;
const ProfileSetting kQuick{.micro_sequences = kSequences, .tokens = kTokens, .seconds = 0.1};

class Profile : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    MemoryMeter::install();
    torch::manual_seed(2);
    model_ = std::make_unique<BoundModel>(model_of(GetParam(), 12));
    batch_ = random_batch(model_->chain.config(), kSequences, kTokens);
  }

  // Of a step that starts with nothing but model and targets.
  int64_t measured_peak(const Plan& plan) {
    SegmentExecutor executor(model_->chain, plan, 1);
    const uint64_t idle_bytes = MemoryMeter::current_bytes() - batch_.tokens.nbytes();
    MemoryMeter::reset_peak();
    executor.run(batch_, 1.0, [](int) {});
    return static_cast<int64_t>(MemoryMeter::peak_bytes() - idle_bytes);
  }

  // Activations alone: parameters would hide a miss. A peak at the head's forward has the loss in it, which base_bytes
  // has too.
  void expect_predicted(const CostTable& costs, const Plan& plan) {
    const int64_t predicted = predict(costs, plan).peak_bytes, measured = measured_peak(plan);
    EXPECT_GE(predicted, measured) << plan.origin << ' ' << strip_of(plan);
    EXPECT_LE(predicted, measured + costs.base_bytes) << plan.origin << ' ' << strip_of(plan);
  }

  std::unique_ptr<BoundModel> model_;
  Batch batch_;
};

TEST_P(Profile, PredictsThePeakOfNamedPolicies) {
  const CostTable costs = profile(model_->chain, kQuick);
  for (const char* policy : {"none", "full", "group", "every", "ratio", "sqrt", "list"}) {
    for (const SaveLevel level : kSaveLevels) {
      PolicySetting setting;
      setting.policy = policy;
      setting.group = 4;
      setting.list = {0, 1, 5, 11};
      setting.save = {level};
      expect_predicted(costs, plan_of(setting, shapes_of(model_->chain)));
    }
  }
}

TEST_P(Profile, PredictsThePeakOfMixedPlans) {
  const CostTable costs = profile(model_->chain, kQuick);
  for (int trial = 0; trial < 16; ++trial) {
    const auto random = [](int64_t below) { return torch::randint(below, {}).item<int>(); };
    Plan plan{{{0, 0, false}}, std::vector<SaveLevel>(26), "trial " + std::to_string(trial)};
    for (int s = 1; s < 25;) {
      const bool recompute = random(2) == 1;
      const int last = recompute ? std::min(24, s + random(8)) : s;
      plan.segments.push_back({s, last, recompute});
      const auto level = static_cast<SaveLevel>(random(3));
      for (; s <= last; ++s) plan.save[static_cast<size_t>(s)] = level;
    }
    plan.segments.push_back({25, 25, false});
    expect_predicted(costs, plan);
  }
}

TEST_P(Profile, MeasuresAllStagesAndNoZeros) {
  const CostTable costs = profile(model_->chain, kQuick);
  ASSERT_EQ(costs.size(), 26);
  EXPECT_EQ(costs.tokens, kSequences * kTokens);
  EXPECT_EQ(costs.micro_sequences, kSequences);
  const int64_t boundary = 4 * kSequences * kTokens * 32;
  for (int s = 0; s < costs.size(); ++s) {
    const StageCost& cost = costs[s];
    EXPECT_EQ(cost.name, model_->chain[s].name);
    EXPECT_EQ(cost.layer, model_->chain[s].layer);
    EXPECT_EQ(cost.recomputable, model_->chain[s].recomputable);
    EXPECT_EQ(cost.boundary_bytes, s == 0 ? 8 * kSequences * kTokens : boundary);
    EXPECT_GT(cost.forward_seconds, 0);
    EXPECT_GT(cost.backward_seconds, 0);
    EXPECT_EQ(cost.late_seconds > 0, cost.recomputable) << cost.name;  // what has an output layer
    EXPECT_LE(cost.late_seconds, cost.backward_seconds);
    EXPECT_GE(cost.early_stop_seconds, 0);
    EXPECT_LE(cost.early_stop_seconds, cost.recomputable ? cost.forward_seconds : 0);
    EXPECT_EQ(cost.at(SaveLevel::all).extra_seconds, 0);
    for (const SaveLevel level : kSaveLevels) {
      EXPECT_GE(cost.at(level).kept_bytes, cost.boundary_bytes);
      EXPECT_LE(cost.at(level).kept_bytes, cost.at(SaveLevel::all).kept_bytes);
      EXPECT_GE(cost.at(level).extra_seconds, 0);
      EXPECT_GT(cost.at(level).forward_workspace_bytes, 0);
      EXPECT_GT(cost.at(level).backward_workspace_bytes, 0);
    }
  }
  EXPECT_EQ(costs.base_bytes, 4);                                 // the loss
  EXPECT_EQ(costs[3].forward_seconds, costs[5].forward_seconds);  // one kind, measured once
  EXPECT_NE(costs[3].forward_seconds, costs[4].forward_seconds);
}

TEST_P(Profile, LeavesTheWeightsAndHoldsNothing) {
  const torch::Tensor values = model_->values.clone();
  const uint64_t bytes = MemoryMeter::current_bytes();
  profile(model_->chain, kQuick);
  EXPECT_TRUE(torch::equal(model_->values, values));
  EXPECT_EQ(MemoryMeter::current_bytes(), bytes);
}

INSTANTIATE_TEST_SUITE_P(Families, Profile, testing::Values(Family::gpt2, Family::llama, Family::postnorm),
                         family_name);

// Bytes are facts of the shapes: another run gives the same.
TEST(Profiler, BytesAreExact) {
  MemoryMeter::install();
  BoundModel model(model_of(Family::gpt2, 2));
  const CostTable first = profile(model.chain, kQuick), second = profile(model.chain, kQuick);
  for (int s = 0; s < first.size(); ++s) {
    for (const SaveLevel level : kSaveLevels) {
      EXPECT_EQ(first[s].at(level).kept_bytes, second[s].at(level).kept_bytes);
      EXPECT_EQ(first[s].at(level).forward_workspace_bytes, second[s].at(level).forward_workspace_bytes);
      EXPECT_EQ(first[s].at(level).backward_workspace_bytes, second[s].at(level).backward_workspace_bytes);
    }
  }
  // Input, normalised input, 4C and 4C around the activation, mean and deviation of each row.
  EXPECT_EQ(first[2].at(SaveLevel::all).kept_bytes, 4 * kSequences * kTokens * (10 * 32 + 2));
  EXPECT_EQ(first[2].at(SaveLevel::input).kept_bytes, first[2].boundary_bytes);
}

}  // namespace
}  // namespace reprise
