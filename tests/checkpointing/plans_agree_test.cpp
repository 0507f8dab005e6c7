// The promise of the project: every plan gives bitwise the same loss and the same gradients.
#include <gtest/gtest.h>

#include "checkpointing/policies.h"
#include "checkpointing/segment_executor.h"
#include "tests/model/bound_model.h"

namespace reprise {
namespace {

constexpr int64_t kSequences = 3, kTokens = 10;

struct Outcome {
  torch::Tensor loss, gradients;
};

// Two micro-batches, so that gradients are added to as well as written.
Outcome train(BoundModel& model, const Plan& plan, const std::vector<Batch>& batches) {
  SegmentExecutor executor(model.chain, plan, /*seed=*/11);
  model.gradients.zero_();
  executor.begin_step(5);
  std::vector<torch::Tensor> losses;
  for (const Batch& batch : batches) losses.push_back(executor.run(batch, 1.0 / 60, [](int) {}));
  return {torch::stack(losses), model.gradients.clone()};
}

std::vector<PolicySetting> all_policies() {
  std::vector<PolicySetting> settings;
  for (const char* name : {"none", "full", "group", "every", "ratio", "sqrt", "list", "segments"}) {
    PolicySetting setting;
    setting.policy = name;
    setting.group = 2;
    setting.list = {1, 2};
    setting.segments = {{0, 0}, {1, 1}, {2, 5, true}, {6, 6, true}, {7, 7}};
    settings.push_back(setting);
  }
  return settings;
}

class PlansAgree : public testing::TestWithParam<std::tuple<Family, torch::Dtype>> {
 protected:
  void SetUp() override {
    torch::manual_seed(3);
    config_ = small_model(std::get<0>(GetParam()), /*dropout=*/0.1);
    config_.layers = 3;
    model_ = std::make_unique<BoundModel>(config_, torch::kFloat32, 7, std::get<1>(GetParam()));
    shapes_ = shapes_of(model_->chain);
    for (int64_t micro = 0; micro < 2; ++micro) {
      batches_.push_back(random_batch(config_, kSequences, kTokens));
      batches_.back().first_sequence += micro * kSequences;
    }
    reference_ = train(*model_, plan_of(PolicySetting{}, shapes_), batches_);
  }

  void expect_same(const Plan& plan) {
    const Outcome outcome = train(*model_, plan, batches_);
    EXPECT_TRUE(torch::equal(outcome.loss, reference_.loss)) << plan.origin << ' ' << strip_of(plan);
    EXPECT_TRUE(torch::equal(outcome.gradients, reference_.gradients)) << plan.origin << ' ' << strip_of(plan);
  }

  ModelConfig config_;
  std::unique_ptr<BoundModel> model_;
  std::vector<StageShape> shapes_;
  std::vector<Batch> batches_;
  Outcome reference_;
};

TEST_P(PlansAgree, TheReferenceDropsAndLearns) {
  EXPECT_TRUE(reference_.gradients.any().item<bool>());
  for (Batch& batch : batches_) batch.step += 1;  // other masks, nothing else
  EXPECT_FALSE(torch::equal(train(*model_, plan_of(PolicySetting{}, shapes_), batches_).loss, reference_.loss));
}

TEST_P(PlansAgree, EveryPolicyAtEveryLevel) {
  for (PolicySetting setting : all_policies()) {
    for (const SaveLevel level : {SaveLevel::all, SaveLevel::lean, SaveLevel::input}) {
      setting.save = {level};
      expect_same(plan_of(setting, shapes_));
    }
  }
}

TEST_P(PlansAgree, RandomMixedPlans) {
  for (int trial = 0; trial < 20; ++trial) {
    const auto random = [](int64_t below) { return torch::randint(below, {}).item<int>(); };
    Plan plan{{{0, 0, false}}, std::vector<SaveLevel>(shapes_.size()), "trial " + std::to_string(trial)};
    const int last = static_cast<int>(shapes_.size()) - 1;
    for (int s = 1; s < last;) {
      const bool recompute = random(2) == 1;
      const int end = recompute ? std::min(last - 1, s + random(4)) : s;
      plan.segments.push_back({s, end, recompute});
      const auto level = static_cast<SaveLevel>(random(3));
      for (; s <= end; ++s) plan.save[static_cast<size_t>(s)] = level;
    }
    plan.segments.push_back({last, last, false});
    expect_same(plan);
  }
}

TEST_P(PlansAgree, EvaluationDoesNotDependOnThePlan) {
  PolicySetting full;
  full.policy = "full";
  SegmentExecutor kept(model_->chain, plan_of(PolicySetting{}, shapes_), 11);
  SegmentExecutor replayed(model_->chain, plan_of(full, shapes_), 11);
  model_->gradients.zero_();
  EXPECT_TRUE(torch::equal(kept.evaluate(batches_[0]), replayed.evaluate(batches_[0])));
  EXPECT_FALSE(model_->gradients.any().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Families, PlansAgree,
                         testing::Combine(testing::Values(Family::gpt2, Family::llama, Family::postnorm),
                                          testing::Values(torch::kFloat32, torch::kBFloat16)),
                         [](const auto& chosen) {
                           return std::string(name_of(std::get<0>(chosen.param))) + "_" +
                                  c10::toString(std::get<1>(chosen.param));
                         });

}  // namespace
}  // namespace reprise
