#include "checkpointing/timeline.h"

#include <gtest/gtest.h>

#include "checkpointing/planner.h"
#include "tests/checkpointing/four_layers.h"
#include "tests/checkpointing/played_step.h"
#include "tests/checkpointing/random_costs.h"

namespace reprise {
namespace {

constexpr double kEqual = 1e-12;

Plan random_plan(const CostTable& costs, random_costs::Maker& maker) {
  Plan plan;
  for (int first = 0; first < costs.size(); first = plan.segments.back().last + 1) {
    const SaveLevel level = kSaveLevels[static_cast<size_t>(maker.below(3))];
    const bool recompute = costs[first].recomputable && maker.below(2) == 0;
    int last = first;
    while (recompute && last + 1 < costs.size() && costs[last + 1].recomputable && maker.below(3) > 0) ++last;
    plan.segments.push_back({first, last, recompute});
    plan.save.resize(static_cast<size_t>(last) + 1, level);
  }
  return plan;
}

TEST(Timeline, AgreesWithAStepPlayedOut) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    random_costs::Maker maker(seed);
    CostTable costs = maker.make(random_costs::kKinds[seed % 4], 2 + maker.below(30), maker.uniform(0, 3) - 0.5,
                                 1 + maker.below(4), seed % 3 * 0.5);
    if (seed % 2 == 0) maker.add_early(costs);
    const Plan plan = random_plan(costs, maker);
    const PlayedStep played = play(costs, plan);
    const Prediction predicted = predict(costs, plan);
    EXPECT_EQ(played.end_bytes, costs.base_bytes);
    EXPECT_EQ(predicted.peak_bytes, played.peak_bytes);
    EXPECT_NEAR(predicted.step_seconds, played.step_seconds, kEqual * played.step_seconds);
    EXPECT_NEAR(predicted.exposed_seconds, played.exposed_seconds, kEqual * played.step_seconds);
  }
}

TEST(Timeline, EventsFillTheStepAndTheCurveReachesThePeak) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    random_costs::Maker maker(seed);
    const int64_t micro_batches = 1 + maker.below(3);
    CostTable costs = maker.make(random_costs::kKinds[seed % 4], 2 + maker.below(20), maker.uniform(0, 3) - 0.5,
                                 micro_batches, seed % 3 * 0.5);
    if (seed % 2 == 0) maker.add_early(costs);
    const Plan plan = random_plan(costs, maker);
    const Timeline timeline = simulate(costs, plan);
    double compute = 0, wire = 0;
    size_t buckets = 0, backwards = 0;
    for (const TimelineEvent& event : timeline.events) {
      EXPECT_GE(event.end_seconds, event.start_seconds);
      double& lane = event.kind == TimelineKind::wire ? wire : compute;
      EXPECT_GE(event.start_seconds, lane);
      lane = event.end_seconds;
      buckets += event.kind == TimelineKind::wire;
      backwards += event.kind == TimelineKind::backward;
      if (event.kind == TimelineKind::optimizer) {
        EXPECT_NEAR(event.end_seconds, timeline.predicted.step_seconds, kEqual * event.end_seconds);
      }
    }
    EXPECT_EQ(buckets, costs.wire ? costs.buckets.size() : 0);
    EXPECT_EQ(backwards, costs.stages.size() * static_cast<size_t>(micro_batches));
    EXPECT_LE(wire, compute);
    int64_t peak = 0;
    double before = 0;
    for (const MemoryPoint& point : timeline.memory) {
      EXPECT_GE(point.seconds, before);
      before = point.seconds;
      peak = std::max(peak, point.bytes);
    }
    EXPECT_EQ(peak, timeline.predicted.peak_bytes);
  }
}

void expect_prediction(const Plan& plan, double milliseconds, double exposed_milliseconds, int64_t peak_mib) {
  const Prediction predicted = predict(four_layers(), plan);
  EXPECT_NEAR(predicted.step_seconds, 1e-3 * milliseconds, 1e-15) << strip_of(plan);
  EXPECT_NEAR(predicted.exposed_seconds, 1e-3 * exposed_milliseconds, 1e-15) << strip_of(plan);
  EXPECT_EQ(predicted.peak_bytes, peak_mib << 20) << strip_of(plan);
}

TEST(Timeline, WorkedExampleOfFourLayers) {
  expect_prediction(keep_but({}), 33, 8, 44);
  expect_prediction(keep_but({0}), 33, 6, 37);
  expect_prediction(keep_but({3}), 35, 8, 44);  // the last layer is replayed when all others are held: nothing is saved
  expect_prediction(keep_but({0, 1}), 34, 5, 30);
  expect_prediction(keep_but({0, 1, 2, 3}), 38, 5, 23);
  Plan joined = keep_but({0, 1});
  joined.segments = {{0, 1, true}, {2, 2, false}, {3, 3, false}};
  expect_prediction(joined, 35, 6, 29);
  Plan thin = keep_but({});
  thin.save = {SaveLevel::input, SaveLevel::input, SaveLevel::lean, SaveLevel::all};
  expect_prediction(thin, 33, 5.25, 28);
}

TEST(Timeline, MemoryCurveOfTheWorkedExample) {
  Plan joined = keep_but({});
  joined.segments = {{0, 1, true}, {2, 2, false}, {3, 3, false}};
  std::vector<int64_t> mib;
  for (const MemoryPoint& point : simulate(four_layers(), joined).memory) mib.push_back(point.bytes >> 20);
  const std::vector<int64_t> forward{12, 13, 20, 28}, backward{29, 21, 20, 28, 28, 20}, wire_and_optimizer{10, 10};
  std::vector<int64_t> expected = forward;  // the second stage holds its own boundary beside the segment's
  expected.insert(expected.end(), backward.begin(), backward.end());  // two kept, two replayed, two done with
  expected.insert(expected.end(), wire_and_optimizer.begin(), wire_and_optimizer.end());
  EXPECT_EQ(mib, expected);
}

TEST(Timeline, FrontierOfTheWorkedExample) {
  const CostTable costs = four_layers();
  const std::vector<FrontierPoint> points = frontier(costs);
  const struct {
    int64_t peak_mib;
    double milliseconds;
    const char* strip;
  } expected[] = {{28, 33, "..-="}, {26, 33.25, "..--"}, {23, 33.75, "...="},
                  {21, 34, "...-"}, {20, 35, "...."},    {19, 39, ".rr."}};
  ASSERT_EQ(points.size(), std::size(expected));
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(points[i].peak_bytes, expected[i].peak_mib << 20);
    EXPECT_NEAR(points[i].step_seconds, 1e-3 * expected[i].milliseconds, 1e-15);
    EXPECT_EQ(strip_of(fastest_plan(costs, points[i].peak_bytes).plan), expected[i].strip);
  }
}

TEST(Timeline, RefusesPlansOfAnotherChain) {
  Plan plan = keep_but({0});
  plan.segments.pop_back();
  EXPECT_THROW(predict(four_layers(), plan), std::invalid_argument);
  EXPECT_THROW(simulate(four_layers(), plan), std::invalid_argument);
}

}  // namespace
}  // namespace reprise
