#include "checkpointing/policies.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/model_config.h"

namespace reprise {
namespace {

// embedding, `layers` layers of attention and feed_forward, head
std::vector<StageShape> chain_of(int layers) {
  std::vector<StageShape> stages = {{-1, false}};
  for (int l = 0; l < layers; ++l) stages.insert(stages.end(), 2, {l, true});
  stages.push_back({-1, false});
  return stages;
}

PolicySetting policy(const std::string& name) {
  PolicySetting setting;
  setting.policy = name;
  return setting;
}

std::string strip(const PolicySetting& setting, int layers) { return strip_of(plan_of(setting, chain_of(layers))); }

// "key: message" of the InvalidSetting, or "" when there is none.
std::string refusal(const PolicySetting& setting, int layers = 4) {
  try {
    plan_of(setting, chain_of(layers));
  } catch (const InvalidSetting& error) {
    return error.key() + ": " + error.what();
  }
  return "";
}

TEST(Policies, NoneAndFull) {
  EXPECT_EQ(strip(policy("none"), 3), "========");
  EXPECT_EQ(strip(policy("full"), 3), "=rr|rr|rr=");
  EXPECT_EQ(plan_of(policy("none"), chain_of(3)).origin, "none");
  EXPECT_EQ(plan_of(policy("full"), chain_of(3)).origin, "full");
}

TEST(Policies, GroupCutsFromLayerZeroAndTheLastMayBeShorter) {
  PolicySetting setting = policy("group");
  EXPECT_EQ(strip(setting, 7), "=rrrrrr|rrrrrr|rr=");
  setting.group = 1;
  EXPECT_EQ(plan_of(setting, chain_of(3)), plan_of(policy("full"), chain_of(3)));
  setting.group = 9;
  EXPECT_EQ(strip(setting, 2), "=rrrr=");
  EXPECT_EQ(plan_of(setting, chain_of(2)).origin, "group: 9");
}

TEST(Policies, EveryRecomputesLayersZeroKTwoK) {
  PolicySetting setting = policy("every");
  EXPECT_EQ(strip(setting, 5), "=rr==rr==rr=");
  EXPECT_EQ(plan_of(setting, chain_of(5)).origin, "every: 2");
  setting.every = 3;
  EXPECT_EQ(strip(setting, 5), "=rr====rr===");
  setting.every = 1;
  EXPECT_EQ(plan_of(setting, chain_of(3)), plan_of(policy("full"), chain_of(3)));
  setting.every = 2147483647;
  EXPECT_EQ(strip(setting, 3), "=rr=====");
}

TEST(Policies, RatioIsEveryFloorOfItsInverse) {
  PolicySetting ratio = policy("ratio");
  PolicySetting same = policy("every");
  const std::vector<std::pair<double, int>> cases = {{1.0, 1}, {0.51, 1}, {0.5, 2}, {0.34, 2}, {0.25, 4}, {0.1, 10}};
  for (const auto& [value, step] : cases) {
    ratio.ratio = value;
    same.every = step;
    EXPECT_EQ(plan_of(ratio, chain_of(12)), plan_of(same, chain_of(12))) << value;
  }
  ratio.ratio = 1e-300;
  EXPECT_EQ(strip(ratio, 2), "=rr===");
  ratio.ratio = 0.25;
  EXPECT_EQ(plan_of(ratio, chain_of(2)).origin, "ratio: 0.25");
}

TEST(Policies, SqrtGroupsByTheSquareRootRoundedUp) {
  EXPECT_EQ(strip(policy("sqrt"), 4), "=rrrr|rrrr=");
  EXPECT_EQ(strip(policy("sqrt"), 5), "=rrrrrr|rrrr=");
  EXPECT_EQ(plan_of(policy("sqrt"), chain_of(5)).origin, "sqrt");
}

TEST(Policies, ListRecomputesEachListedLayerAlone) {
  PolicySetting setting = policy("list");
  setting.list = {3, 0, 1};
  EXPECT_EQ(strip(setting, 4), "=rr|rr==rr=");
  EXPECT_EQ(plan_of(setting, chain_of(4)).origin, "list: [3, 0, 1]");
  setting.list = {};
  EXPECT_EQ(plan_of(setting, chain_of(4)), plan_of(policy("none"), chain_of(4)));
}

TEST(Policies, SegmentsAreTakenAsTheyStand) {
  PolicySetting setting = policy("segments");
  setting.segments = {{0, 0}, {1, 1}, {2, 3, true}, {4, 4}, {5, 5}};
  EXPECT_EQ(strip(setting, 2), "==rr==");
}

TEST(Policies, OneLevelForAllOrAListPerStage) {
  PolicySetting setting = policy("every");
  setting.save = {SaveLevel::lean};
  EXPECT_EQ(strip(setting, 2), "-rr---");
  EXPECT_EQ(plan_of(setting, chain_of(2)).save, std::vector<SaveLevel>(6, SaveLevel::lean));
  setting.save = {SaveLevel::all,  SaveLevel::input, SaveLevel::input,
                  SaveLevel::lean, SaveLevel::input, SaveLevel::all};
  EXPECT_EQ(strip(setting, 2), "=rr-.=");
  EXPECT_EQ(plan_of(setting, chain_of(2)).save, setting.save);
}

TEST(Policies, RefuseImpossibleValuesAndNameTheNearest) {
  PolicySetting setting = policy("group");
  setting.group = 0;
  EXPECT_EQ(refusal(setting),
            "checkpointing.group: expected a whole number of layers, at least 1, got 0; nearest legal value: 1");
  setting = policy("every");
  setting.every = -2;
  EXPECT_EQ(refusal(setting),
            "checkpointing.every: expected a whole number of layers, at least 1, got -2; nearest legal value: 1");
  setting = policy("ratio");
  for (const double ratio : {1.5, HUGE_VAL}) {
    setting.ratio = ratio;
    EXPECT_NE(refusal(setting).find("checkpointing.ratio: expected a number above 0, at most 1, got "),
              std::string::npos);
    EXPECT_NE(refusal(setting).find("nearest legal value: 1"), std::string::npos) << ratio;
  }
  for (const double ratio : {0.0, -1.0}) {
    setting.ratio = ratio;
    EXPECT_NE(refusal(setting).find("nearest legal value: 0.25 (one layer)"), std::string::npos) << ratio;
  }
  setting.ratio = NAN;
  EXPECT_NE(refusal(setting), "");
}

TEST(Policies, RefuseListsOutsideTheModel) {
  PolicySetting setting = policy("list");
  setting.list = {0, 4};
  EXPECT_EQ(refusal(setting), "checkpointing.list: expected layers from 0 to 3, got 4; nearest legal value: 3");
  setting.list = {-1};
  EXPECT_EQ(refusal(setting), "checkpointing.list: expected layers from 0 to 3, got -1; nearest legal value: 0");
  setting.list = {2, 0, 2};
  EXPECT_EQ(refusal(setting), "checkpointing.list: expected each layer once, got 2 twice; nearest legal value: 2 once");
}

TEST(Policies, RefuseSegmentsThatAreNoPlan) {
  PolicySetting setting = policy("segments");
  EXPECT_EQ(refusal(setting, 1), "checkpointing.segments: segments: expected stages 0 to 3, got none");
  setting.segments = {{0, 2, true}, {3, 3}};
  EXPECT_EQ(refusal(setting, 1).rfind("checkpointing.segments: segment 0: expected only recomputable stages", 0), 0U);
  setting.segments = {{0, 0}, {1, 3, true}};
  EXPECT_EQ(refusal(setting, 1).rfind("checkpointing.segments: segment 1: expected only recomputable stages", 0), 0U);
  setting.segments = {{0, 0}, {1, 1}, {3, 3}};
  EXPECT_EQ(refusal(setting, 1), "checkpointing.segments: segment 2: expected first stage 2, got 3");
}

TEST(Policies, RefuseLevelsThatDoNotFit) {
  PolicySetting setting = policy("none");
  setting.save = {SaveLevel::all, SaveLevel::lean};
  EXPECT_EQ(
      refusal(setting, 1),
      "checkpointing.save: expected one level, or a list of 4 (one per stage), got 2; nearest legal value: 4 levels");
  setting.save = {};
  EXPECT_NE(refusal(setting, 1), "");
  setting = policy("full");
  setting.save = {SaveLevel::all, SaveLevel::all, SaveLevel::lean, SaveLevel::all};
  EXPECT_EQ(refusal(setting, 1).rfind("checkpointing.save: save: expected all for stage 2", 0), 0U);
}

TEST(Policies, RefuseUnknownNames) {
  EXPECT_EQ(refusal(policy("groups")),
            "checkpointing.policy: expected none, full, group, every, ratio, sqrt, list or segments, got \"groups\"");
}

}  // namespace
}  // namespace reprise
