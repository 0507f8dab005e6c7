#include "checkpointing/plan.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace reprise {
namespace {

// embedding, two layers of two stages, head
const std::vector<StageShape> kChain = {{-1, false}, {0, true}, {0, true}, {1, true}, {1, true}, {-1, false}};

Plan plan_with(std::vector<Segment> segments) {
  return {std::move(segments), std::vector<SaveLevel>(kChain.size(), SaveLevel::all), "test"};
}

std::string complaint_about(const Plan& plan) {
  try {
    check_plan(plan, kChain);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(Plan, AcceptsKeptAndRecomputedSegments) {
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 4, true}, {5, 5}})), "");
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 1}, {2, 3, true}, {4, 4, true}, {5, 5}})), "");
}

TEST(Plan, RefusesSegmentsThatDoNotCoverTheChainOnce) {
  EXPECT_EQ(complaint_about(plan_with({})), "segments: expected stages 0 to 5, got none");
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 4, true}})), "segments: expected stages 0 to 5, got 0 to 4");
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {2, 4, true}, {5, 5}})), "segment 1: expected first stage 1, got 2");
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 3, true}, {3, 4, true}, {5, 5}})),
            "segment 2: expected first stage 4, got 3");
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 0, true}})), "segment 1: expected last stage from 1 on, got 0");
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 9, true}})), "segment 1: expected last stage up to 5, got 9");
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 4, true}, {5, 5}, {6, 6}})),
            "segment 3: expected no more segments: the 6 stages are covered already");
  EXPECT_EQ(complaint_about(plan_with({{-1, 0}})), "segment 0: expected first stage 0, got -1");
}

TEST(Plan, RefusesLongKeptSegmentsAndRecomputedEnds) {
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 2}, {3, 4, true}, {5, 5}})),
            "segment 1: expected one stage in a kept segment (last 1), got last 2");
  EXPECT_EQ(complaint_about(plan_with({{0, 4, true}, {5, 5}})),
            "segment 0: expected only recomputable stages, got stage 0, which is always kept");
  EXPECT_EQ(complaint_about(plan_with({{0, 0}, {1, 5, true}})),
            "segment 1: expected only recomputable stages, got stage 5, which is always kept");
}

TEST(Plan, RefusesLevelsThatAreMissingOrMixed) {
  Plan plan = plan_with({{0, 0}, {1, 2, true}, {3, 3}, {4, 4}, {5, 5}});
  plan.save[3] = SaveLevel::lean;
  EXPECT_EQ(complaint_about(plan), "");
  plan.save[2] = SaveLevel::input;
  EXPECT_EQ(complaint_about(plan),
            "save: expected all for stage 2 as for the rest of its recomputed segment, got input");
  plan.save.pop_back();
  EXPECT_EQ(complaint_about(plan), "save: expected 6 levels, one per stage, got 5");
}

TEST(Plan, ComparesByWhatItDoes) {
  Plan a = plan_with({{0, 0}, {1, 4, true}, {5, 5}});
  Plan b = a;
  b.origin = "another";
  EXPECT_EQ(a, b);
  b.save[0] = SaveLevel::lean;
  EXPECT_FALSE(a == b);
}

TEST(Plan, DrawsAStrip) {
  Plan plan = plan_with({{0, 0}, {1, 1}, {2, 2}, {3, 3, true}, {4, 4, true}, {5, 5}});
  plan.save = {SaveLevel::all, SaveLevel::lean, SaveLevel::input, SaveLevel::all, SaveLevel::all, SaveLevel::all};
  EXPECT_EQ(strip_of(plan), "=-.r|r=");
  EXPECT_EQ(strip_of(plan_with({{0, 0}, {1, 4, true}, {5, 5}})), "=rrrr=");
  EXPECT_EQ(strip_of(plan_with({{0, 0}, {1, 1, true}, {2, 2}, {3, 3, true}, {4, 4}, {5, 5}})), "=r=r==");
}

TEST(Plan, NamesLevels) {
  EXPECT_STREQ(name_of(SaveLevel::lean), "lean");
  EXPECT_STREQ(name_of(SaveLevel::input), "input");
}

}  // namespace
}  // namespace reprise
