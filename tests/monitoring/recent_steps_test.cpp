#include "monitoring/recent_steps.h"

#include <gtest/gtest.h>

namespace reprise {
namespace {

StepReport step_of(double seconds, RankSpread compute, RankSpread data = {}) {
  StepReport report;
  report.tokens = 1000;
  report.step_seconds = seconds;
  report.rank_compute = compute;
  report.rank_data = data;
  return report;
}

TEST(RecentSteps, OfTwoRanksTheFasterIsTheMedian) {
  const RankSpread two = spread_of({5, 2});
  EXPECT_EQ(two.min, 2);
  EXPECT_EQ(two.median, 2);
  EXPECT_EQ(two.max, 5);
  EXPECT_EQ(two.max_rank, 0);
  EXPECT_EQ(spread_of({1, 9, 4, 9, 3}).median, 4);
  EXPECT_EQ(spread_of({1, 9, 4, 9, 3}).max_rank, 1);
  EXPECT_EQ(spread_of({7}).median, 7);
}

TEST(RecentSteps, OnlyTheLastSixteenCount) {
  RecentSteps recent;
  EXPECT_EQ(recent.mean(&StepReport::step_seconds), 0);
  EXPECT_EQ(recent.tokens_per_second(), 0);
  recent.add(step_of(100, {}));
  std::vector<StepReport> all(1, step_of(100, {}));
  for (int i = 0; i < 16; ++i) {
    recent.add(step_of(2, {}));
    all.push_back(step_of(2, {}));
  }
  EXPECT_EQ(recent.mean(&StepReport::step_seconds), 2);
  EXPECT_EQ(recent.tokens_per_second(), 500);
  EXPECT_EQ(RecentSteps(all).mean(&StepReport::step_seconds), 2);
}

TEST(RecentSteps, AStragglerTakesOverThirteenTenthsOfTheMedian) {
  RecentSteps even, slow, data;
  even.add(step_of(2, {1, 1, 1.29, 3}));
  EXPECT_EQ(even.straggler(), "");
  slow.add(step_of(2, {1, 1, 1.5, 3}));
  EXPECT_EQ(slow.straggler(), "rank 3 computes 1.5 times the median");
  data.add(step_of(2, {1, 1, 1, 0}, {0.1, 0.1, 0.4, 2}));
  EXPECT_EQ(data.straggler(), "rank 2 waits for data 4.0 times the median");
  EXPECT_EQ(RecentSteps().straggler(), "");
}

TEST(RecentSteps, NeitherTriflesNorASingleSlowStepMakeAStraggler) {
  RecentSteps trifle, once, always, in_turn;
  trifle.add(step_of(2, {1, 1, 1, 0}, {0.001, 0.001, 0.09, 2}));
  EXPECT_EQ(trifle.straggler(), "");
  for (int i = 0; i < 15; ++i) {
    once.add(step_of(2, {1, 1, 1.1, 1}));
    always.add(step_of(2, {1, 1, 1.5, 3}));
  }
  for (int i = 0; i < 16; ++i) in_turn.add(step_of(2, {1, 1, 1.5, i % 2}));
  EXPECT_EQ(in_turn.straggler(), "");
  once.add(step_of(2, {1, 1, 1.5, 3}));
  EXPECT_EQ(once.straggler(), "");
  always.add(step_of(2, {1, 1, 1.5, 3}));
  EXPECT_NE(always.straggler(), "");
}

}  // namespace
}  // namespace reprise
