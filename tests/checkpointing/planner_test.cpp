// Over 300 lines because the exhaustive enumeration that judges the planner stands beside what it judges.
#include "checkpointing/planner.h"

#include <gtest/gtest.h>

#include <map>

#include "checkpointing/policies.h"
#include "tests/checkpointing/played_step.h"
#include "tests/checkpointing/random_costs.h"

namespace reprise {
namespace {

using random_costs::kKinds;
using random_costs::Maker;

constexpr double kEqual = 1e-12;  // relative

// Makes an instance unusual: round figures (many ties), stages that cannot be recomputed in the middle, ends that can,
// levels that are better in everything or in nothing, no time at all.
void disturb(CostTable& costs, Maker& maker) {
  const bool round = maker.below(3) == 0;
  for (StageCost& stage : costs.stages) {
    if (maker.below(6) == 0) stage.recomputable = !stage.recomputable;
    if (round) {
      stage.forward_seconds = 1e-3 * maker.below(4);
      stage.backward_seconds = 1e-3 * maker.below(5);
      stage.boundary_bytes = maker.below(3);
    }
    for (SaveCost& save : stage.saves) {
      if (round) save = {stage.boundary_bytes + maker.below(6), 1e-3 * maker.below(3), maker.below(4), maker.below(5)};
      if (maker.below(8) == 0) save.extra_seconds = stage.forward_seconds * maker.uniform(0, 2);
      save.kept_bytes = std::max(save.kept_bytes, stage.boundary_bytes);
    }
  }
  if (round && costs.wire) costs.wire = WireModel{1e-3, 1e9};
}

struct Priced {
  int64_t peak_bytes;
  double step_seconds;
};

// Peaks rising, times falling; of times equal but for rounding, the one with the smallest peak.
std::vector<Priced> front_of(std::vector<Priced> plans) {
  std::sort(plans.begin(), plans.end(), [](const Priced& a, const Priced& b) {
    return std::tie(a.peak_bytes, a.step_seconds) < std::tie(b.peak_bytes, b.step_seconds);
  });
  std::vector<Priced> front;
  for (const Priced& plan : plans) {
    if (front.empty() || plan.step_seconds < front.back().step_seconds * (1 - kEqual / 10)) front.push_back(plan);
  }
  return front;
}

std::vector<Priced> exhaustive_front(const CostTable& costs) {
  std::vector<Priced> plans;
  for_every_plan(costs, [&](const Plan& plan) {
    const PlayedStep step = play(costs, plan);
    plans.push_back({step.peak_bytes, step.step_seconds});
  });
  return front_of(std::move(plans));
}

void expect_best(const CostTable& costs, const std::vector<Priced>& front, int64_t budget) {
  if (budget < front.front().peak_bytes) {
    try {
      fastest_plan(costs, budget);
      ADD_FAILURE() << "a plan under the smallest peak";
    } catch (const DoesNotFit& error) {
      EXPECT_EQ(error.smallest.predicted.peak_bytes, front.front().peak_bytes);
      EXPECT_NEAR(error.smallest.predicted.step_seconds, front.front().step_seconds,
                  kEqual * front.front().step_seconds);
    }
    return;
  }
  Priced best = front.front();
  for (const Priced& point : front) best = point.peak_bytes <= budget ? point : best;
  const PlannedStep planned = fastest_plan(costs, budget);
  const PlayedStep played = play(costs, planned.plan);
  EXPECT_NEAR(played.step_seconds, best.step_seconds, kEqual * best.step_seconds);
  EXPECT_EQ(played.peak_bytes, best.peak_bytes);
  EXPECT_EQ(planned.predicted.peak_bytes, played.peak_bytes);
  EXPECT_NEAR(planned.predicted.step_seconds, played.step_seconds, kEqual * played.step_seconds);
  EXPECT_EQ(planned.gap, 0);
}

void expect_same_front(const std::vector<FrontierPoint>& points, const std::vector<Priced>& front) {
  ASSERT_EQ(points.size(), front.size());
  for (size_t i = 0; i < points.size(); ++i) {
    const Priced& expected = front[front.size() - 1 - i];
    EXPECT_EQ(points[i].peak_bytes, expected.peak_bytes);
    EXPECT_NEAR(points[i].step_seconds, expected.step_seconds, kEqual * expected.step_seconds);
  }
}

CostTable random_instance(uint64_t seed, int most_stages) {
  constexpr double kRatios[] = {0, 0.3, 1, 3};
  Maker maker(seed);
  const int stages = 2 + maker.below(most_stages - 1);
  CostTable costs =
      maker.make(kKinds[seed % 4], stages, kRatios[seed / 4 % 4], int64_t{1} << maker.below(3), seed % 3 * 0.5);
  if (maker.below(2) == 0) disturb(costs, maker);
  if (maker.below(2) == 0) maker.add_early(costs);
  return costs;
}

TEST(Planner, EqualsExhaustiveEnumerationOn2000Instances) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    const CostTable costs = random_instance(seed, 6);
    const std::vector<Priced> front = exhaustive_front(costs);
    const int64_t smallest = front.front().peak_bytes, largest = front.back().peak_bytes;
    for (const int64_t budget : {smallest - 1, smallest, (3 * smallest + largest) / 4, (smallest + largest) / 2,
                                 (smallest + 3 * largest) / 4, largest - 1, largest, int64_t{1} << 62}) {
      expect_best(costs, front, budget);
    }
    expect_same_front(frontier(costs), front);
    if (testing::Test::HasFailure()) break;
  }
}

// A straight dynamic program over (bytes held, A, S), stages first to last, nothing pruned but what another state
// beats.
double plain_fastest(const CostTable& costs, int64_t budget) {
  struct State {
    int64_t held;
    double finish, busy;
  };
  std::vector<std::vector<State>> fronts(costs.stages.size() + 1);
  fronts[0] = {{costs.base_bytes, 0, 0}};
  const double share = compute_share_of(costs);
  const std::vector<double> wire = wire_seconds_up_to(costs);
  const auto add = [&](std::vector<State>& front, const State& state) {
    const auto beats = [](const State& a, const State& b) {
      return a.held <= b.held && a.finish <= b.finish && a.busy <= b.busy;
    };
    if (std::any_of(front.begin(), front.end(), [&](const State& other) { return beats(other, state); })) return;
    std::erase_if(front, [&](const State& other) { return beats(state, other); });
    front.push_back(state);
  };
  for (int first = 0; first < costs.size(); ++first) {
    for (const State& before : fronts[static_cast<size_t>(first)]) {
      for (int last = first; last < costs.size() && (last == first || costs[last].recomputable); ++last) {
        for (const SaveLevel level : kSaveLevels) {
          for (const bool recompute : {false, true}) {
            if (recompute ? !costs[first].recomputable : last > first) continue;
            if (last > first && !costs[first].recomputable) continue;
            State state = before;
            int64_t kept = 0, peak = 0;
            double replay = 0;
            for (int s = first; s <= last; ++s) {
              const SaveCost& save = costs[s].at(level);
              const int64_t waiting = last + 1 < costs.size() ? costs[last + 1].boundary_bytes : 0;
              const int64_t own = s > first ? costs[s].boundary_bytes : 0;
              kept += save.kept_bytes;
              peak = std::max(peak, kept + save.backward_workspace_bytes);
              const int64_t beside = recompute ? std::max(kept + waiting, costs[first].boundary_bytes + own) : kept;
              peak = std::max(peak, beside + save.forward_workspace_bytes);
              const double busy = costs[s].backward_seconds + save.extra_seconds, late = costs[s].late_seconds;
              state.finish = std::max(state.finish, (1 - share) * wire[2 * static_cast<size_t>(s)]) + late;
              state.finish = std::max(state.finish, (1 - share) * wire[2 * static_cast<size_t>(s) + 1]) + busy - late;
              state.busy += busy;
              if (recompute) replay += costs[s].forward_seconds - (s == last ? costs[s].early_stop_seconds : 0);
            }
            if (before.held + peak > budget) continue;
            state.finish += replay;
            state.busy = costs.micro_batches > 1 ? state.busy + replay : 0;
            state.held += recompute ? costs[first].boundary_bytes : kept;
            add(fronts[static_cast<size_t>(last) + 1], state);
          }
        }
      }
    }
  }
  double forward = 0, best = std::numeric_limits<double>::infinity();
  const double moving = share * wire.back() + costs.optimizer_seconds;
  for (const StageCost& stage : costs.stages) forward += stage.forward_seconds;
  const auto n = static_cast<double>(costs.micro_batches);
  for (const State& state : fronts.back()) {
    best = std::min(best, n * forward + (n - 1) * state.busy + state.finish + moving);
  }
  return best;
}

TEST(Planner, EqualsAPlainDynamicProgram) {
  for (uint64_t seed = 0; seed < 48; ++seed) {
    SCOPED_TRACE(seed);
    Maker maker(seed);
    constexpr double kRatios[] = {0, 0.6, 1, 1.6};
    const int64_t micro_batches = seed % 3 == 0 ? 2 : 1;
    CostTable costs = maker.make(kKinds[seed % 4], micro_batches > 1 ? 10 : 16, kRatios[seed / 4 % 4], micro_batches,
                                 seed / 2 % 3 * 0.5);
    if (seed % 5 == 0) disturb(costs, maker);
    if (seed % 2 == 0) maker.add_early(costs);
    const std::vector<FrontierPoint> points = frontier(costs);
    for (const double share : {0.0, 0.1, 0.3, 0.6, 0.9}) {
      const auto span = static_cast<double>(points.front().peak_bytes - points.back().peak_bytes);
      const int64_t budget = points.back().peak_bytes + static_cast<int64_t>(share * span);
      const double expected = plain_fastest(costs, budget);
      EXPECT_NEAR(fastest_plan(costs, budget).predicted.step_seconds, expected, kEqual * expected);
    }
  }
}

std::vector<Plan> named_plans(const CostTable& costs) {
  std::vector<Plan> plans;
  for (const SaveLevel level : kSaveLevels) {
    PolicySetting setting;
    setting.save = {level};
    for (const char* policy : {"none", "full", "group", "every", "sqrt"}) {
      setting.policy = policy;
      for (int k = 1; k <= 4; ++k) {
        setting.group = setting.every = k;
        plans.push_back(plan_of(setting, shapes_of(costs)));
      }
    }
  }
  for (int i = 0; i < 6; ++i) plans.push_back(greedy_plan(costs, int64_t{30} << (20 + i)));
  return plans;
}

TEST(Planner, NeverWorseThanAnyNamedPolicyAndMonotone) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    constexpr int kStages[] = {8, 26, 60};
    constexpr double kRatios[] = {0.3, 1, 1.5, 3};
    const CostTable costs = Maker(seed).make(kKinds[seed % 4], seed == 1 ? 200 : kStages[seed % 3],
                                             kRatios[seed / 3 % 4], seed % 5 ? 1 : 2);
    std::map<int64_t, double> fastest;  // by budget
    for (const Plan& plan : named_plans(costs)) {
      const Prediction named = predict(costs, plan);
      const auto [planned, is_new] = fastest.try_emplace(named.peak_bytes);
      if (is_new) {
        const PlannedStep step = fastest_plan(costs, named.peak_bytes);
        EXPECT_LE(step.predicted.peak_bytes, named.peak_bytes);
        planned->second = step.predicted.step_seconds;
      }
      EXPECT_LE(planned->second, named.step_seconds * (1 + kEqual)) << strip_of(plan);
    }
    double slower = std::numeric_limits<double>::infinity();
    for (const auto& [budget, seconds] : fastest) {
      EXPECT_LE(seconds, slower) << budget;
      slower = seconds;
    }
  }
}

TEST(Planner, FrontierAndSinglePlansAgree) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    SCOPED_TRACE(seed);
    const CostTable costs = Maker(seed).make(kKinds[seed], 40, 0.5 + 0.3 * static_cast<double>(seed));
    const std::vector<FrontierPoint> points = frontier(costs);
    for (size_t i = 0; i + 1 < points.size(); ++i) {
      EXPECT_GT(points[i].peak_bytes, points[i + 1].peak_bytes);
      EXPECT_LT(points[i].step_seconds, points[i + 1].step_seconds);
      if (i % (points.size() / 16 + 1) != 0) continue;
      const PlannedStep at = fastest_plan(costs, points[i].peak_bytes),
                        below = fastest_plan(costs, points[i].peak_bytes - 1);
      EXPECT_EQ(at.predicted.peak_bytes, points[i].peak_bytes);
      EXPECT_EQ(at.predicted.step_seconds, points[i].step_seconds);
      EXPECT_EQ(below.predicted.peak_bytes, points[i + 1].peak_bytes);
      EXPECT_FALSE(points[i + 1].follows_gap);
    }
    EXPECT_THROW(fastest_plan(costs, points.back().peak_bytes - 1), DoesNotFit);
  }
}

TEST(Planner, SeveralMicroBatchesStayWithinTheProvenGap) {
  for (const random_costs::Kind kind : kKinds) {
    const CostTable costs = Maker(5).make(kind, 100, 1.0, 4);
    const PlannedStep roomy = fastest_plan(costs, int64_t{1} << 50);
    const PlannedStep tight = fastest_plan(costs, roomy.predicted.peak_bytes / 2);
    EXPECT_EQ(roomy.gap, 0);
    EXPECT_LE(tight.gap, 0.01);
    EXPECT_LE(tight.predicted.peak_bytes, roomy.predicted.peak_bytes / 2);
  }
}

// Layers 0, 1, 2 save 4, 12, 12 MiB and cost 1, 2, 2 ms: 4, 6 and 6 MiB a millisecond.
CostTable three_layers() {
  CostTable costs;
  for (int layer = 0; layer < 3; ++layer) {
    StageCost stage;
    stage.layer = layer;
    stage.recomputable = true;
    stage.forward_seconds = layer == 0 ? 1e-3 : 2e-3;
    stage.backward_seconds = 4e-3;
    stage.boundary_bytes = 1 << 20;
    stage.saves.fill({layer == 0 ? 5 << 20 : 13 << 20, 0, 0, 0});
    costs.stages.push_back(stage);
  }
  return costs;
}

TEST(Greedy, TakesTheBestRatioFirstTheLowerLayerAmongEqualsAndStopsAtTheFirstThatDoesNotFit) {
  const CostTable costs = three_layers();
  EXPECT_EQ(strip_of(greedy_plan(costs, (12 << 20) - 1)),
            "===");  // layer 0 would fit, but layer 1 comes first and stops it
  EXPECT_EQ(strip_of(greedy_plan(costs, 12 << 20)), strip_of(greedy_plan(costs, (24 << 20) - 1)));
  EXPECT_EQ(greedy_plan(costs, 12 << 20).segments, (std::vector<Segment>{{0, 0, false}, {1, 1, true}, {2, 2, false}}));
  EXPECT_EQ(greedy_plan(costs, 24 << 20).segments, (std::vector<Segment>{{0, 0, false}, {1, 1, true}, {2, 2, true}}));
  EXPECT_EQ(greedy_plan(costs, 28 << 20).segments, (std::vector<Segment>{{0, 0, true}, {1, 1, true}, {2, 2, true}}));
}

TEST(Knapsack, IsTheFastestChoiceOfWholeLayersWithoutTheWire) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const CostTable costs = Maker(seed).make(kKinds[seed % 4], 12, 1.0);  // 5 layers of two stages
    CostTable wireless = costs;
    wireless.wire.reset();
    std::vector<Priced> plans;
    for (int chosen = 0; chosen < 32; ++chosen) {
      PolicySetting setting;
      setting.policy = "list";
      for (int layer = 0; layer < 5; ++layer) {
        if (chosen >> layer & 1) setting.list.push_back(layer);
      }
      const Prediction predicted = predict(wireless, plan_of(setting, shapes_of(costs)));
      plans.push_back({predicted.peak_bytes, predicted.step_seconds});
    }
    for (const Priced& point : front_of(plans)) {
      const PlannedStep planned = knapsack_plan(costs, point.peak_bytes);
      EXPECT_EQ(planned.predicted.peak_bytes, point.peak_bytes);
      EXPECT_NEAR(predict(wireless, planned.plan).step_seconds, point.step_seconds, kEqual * point.step_seconds);
      EXPECT_EQ(planned.predicted.step_seconds, predict(costs, planned.plan).step_seconds);
    }
  }
}

}  // namespace
}  // namespace reprise
