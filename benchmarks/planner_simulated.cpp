// What the planner promises, on made-up cost tables (tests/checkpointing/random_costs.h): its time, and its plans
// against the greedy recipe and against keeping everything. Prints tables, then one JSON document as the last line.

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpointing/planner.h"
#include "checkpointing/policies.h"
#include "tests/checkpointing/random_costs.h"

namespace reprise {
namespace {

using Json = nlohmann::ordered_json;
using random_costs::Kind;
using random_costs::Maker;

constexpr Kind kGptLike[] = {Kind::homogeneous, Kind::big_vocabulary, Kind::mixed_widths};
constexpr int64_t kRoomy = int64_t{1} << 60;

const char* name_of(Kind kind) { return random_costs::kKindNames[static_cast<int>(kind)]; }

// Processor time: the machine may be shared.
double now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// `count` budgets from the smallest peak of any plan to the peak of the fastest, evenly spaced.
std::vector<int64_t> budgets_of(const CostTable& costs, int count) {
  int64_t smallest = 0;
  try {
    fastest_plan(costs, 0);
  } catch (const DoesNotFit& error) {
    smallest = error.smallest.predicted.peak_bytes;
  }
  const int64_t largest = fastest_plan(costs, kRoomy).predicted.peak_bytes;
  std::vector<int64_t> budgets;
  for (int i = 0; i < count; ++i) budgets.push_back(smallest + (largest - smallest) / (count - 1) * i);
  return budgets;
}

Prediction named(const CostTable& costs, const std::string& policy) {
  PolicySetting setting;
  setting.policy = policy;
  return predict(costs, plan_of(setting, shapes_of(costs)));
}

Json time_planner(int stages, int budgets, int seeds) {
  std::printf("\nProcessor milliseconds of the planner, %d stages, %d budgets, %d seeds\n", stages, budgets, seeds);
  std::printf("%-16s %6s %10s %10s %14s %12s %8s\n", "chain", "ratio", "mean plan", "worst", "all budgets", "frontier",
              "points");
  Json rows = Json::array();
  for (const Kind kind : random_costs::kKinds) {
    for (const double ratio : {0.0, 0.3, 1.0, 3.0}) {
      double worst = 0, all = 0, most = 0, front = 0;
      size_t points = 0;
      for (int seed = 0; seed < seeds; ++seed) {
        const CostTable costs = Maker(static_cast<uint64_t>(seed)).make(kind, stages, ratio);
        double together = 0;
        for (const int64_t budget : budgets_of(costs, budgets)) {
          const double start = now();
          fastest_plan(costs, budget);
          const double took = now() - start;
          worst = std::max(worst, took);
          together += took;
        }
        all += together;
        most = std::max(most, together);
        if (seed > 0) continue;
        const double start = now();
        points = frontier(costs).size();
        front = now() - start;
      }
      const double mean = all / budgets / seeds;
      std::printf("%-16s %6.1f %10.2f %10.2f %14.1f %12.1f %8zu\n", name_of(kind), ratio, 1e3 * mean, 1e3 * worst,
                  1e3 * most, 1e3 * front, points);
      std::fflush(stdout);
      rows.push_back({{"chain", name_of(kind)},
                      {"stages", stages},
                      {"ratio", ratio},
                      {"mean_seconds", mean},
                      {"worst_seconds", worst},
                      {"all_budgets_seconds", most},
                      {"frontier_seconds", front},
                      {"frontier_points", points}});
    }
  }
  return rows;
}

// The best that the greedy recipe can do within a budget, whatever figure it is given.
std::optional<Prediction> best_greedy(const std::vector<Prediction>& plans, int64_t budget) {
  std::optional<Prediction> best;
  for (const Prediction& plan : plans) {
    if (plan.peak_bytes <= budget && (!best || plan.step_seconds < best->step_seconds)) best = plan;
  }
  return best;
}

// Greedy's plans for every figure that changes them: they depend on how many layers are taken.
std::vector<Prediction> greedy_plans(const CostTable& costs) {
  std::vector<Prediction> plans;
  int64_t most = 0;
  for (const StageCost& stage : costs.stages) most += stage.at(SaveLevel::all).kept_bytes;
  constexpr int64_t kSteps = 2000;
  Plan before;
  for (int64_t i = 0; i <= kSteps; ++i) {
    const Plan plan = greedy_plan(costs, most / kSteps * i);
    if (plan == before) continue;
    plans.push_back(predict(costs, plan));
    before = plan;
  }
  return plans;
}

Json against_greedy(int stages, int budgets, int seeds) {
  std::printf(
      "\nGreedy's step ÷ the planner's at equal budget, %d stages, %d budgets from the smallest peak to that of"
      " keeping everything, %d seeds\n",
      stages, budgets, seeds);
  std::printf("%-16s %6s %8s %8s %8s %10s\n", "chain", "ratio", "mean", "least", "most", "no greedy");
  Json rows = Json::array();
  for (const Kind kind : kGptLike) {
    for (const double ratio : {0.0, 0.3, 1.0, 1.5, 3.0}) {
      double sum = 0, least = 1e9, most = 0;
      int count = 0, without = 0;
      for (int seed = 0; seed < seeds; ++seed) {
        const CostTable costs = Maker(static_cast<uint64_t>(seed)).make(kind, stages, ratio);
        const std::vector<Prediction> plans = greedy_plans(costs);
        const int64_t smallest = budgets_of(costs, 2)[0], largest = named(costs, "none").peak_bytes;
        for (int i = 0; i < budgets; ++i) {
          const int64_t budget = smallest + (largest - smallest) / (budgets - 1) * i;
          const std::optional<Prediction> greedy = best_greedy(plans, budget);
          without += !greedy;
          if (!greedy) continue;
          const double gain = greedy->step_seconds / fastest_plan(costs, budget).predicted.step_seconds;
          sum += gain;
          least = std::min(least, gain);
          most = std::max(most, gain);
          ++count;
        }
      }
      std::printf("%-16s %6.1f %8.4f %8.4f %8.4f %4d of %d\n", name_of(kind), ratio, sum / count, least, most, without,
                  without + count);
      rows.push_back({{"chain", name_of(kind)},
                      {"ratio", ratio},
                      {"mean", sum / count},
                      {"least", least},
                      {"most", most},
                      {"budgets", without + count},
                      {"without_greedy_plan", without}});
    }
  }
  return rows;
}

Json wire_bound(int seeds) {
  std::printf("\nThe planner's step ÷ that of keeping everything: worst of %d seeds\n", seeds);
  std::printf("%-16s %7s %6s %22s %20s\n", "chain", "stages", "ratio", "halfway full to none", "bytes of full");
  Json rows = Json::array();
  for (const Kind kind : kGptLike) {
    for (const int stages : {14, 26, 50}) {
      for (const double ratio : {1.5, 2.0, 3.0}) {
        double half = 0, low = 0;
        for (int seed = 0; seed < seeds; ++seed) {
          const CostTable costs = Maker(static_cast<uint64_t>(seed)).make(kind, stages, ratio);
          const Prediction none = named(costs, "none"), full = named(costs, "full");
          const int64_t halfway = (none.peak_bytes + full.peak_bytes) / 2;
          half = std::max(half, fastest_plan(costs, halfway).predicted.step_seconds / none.step_seconds);
          low = std::max(low, fastest_plan(costs, full.peak_bytes).predicted.step_seconds / none.step_seconds);
        }
        std::printf("%-16s %7d %6.1f %22.4f %20.4f\n", name_of(kind), stages, ratio, half, low);
        rows.push_back({{"chain", name_of(kind)},
                        {"stages", stages},
                        {"ratio", ratio},
                        {"halfway", half},
                        {"bytes_of_full", low}});
      }
    }
  }
  return rows;
}

}  // namespace
}  // namespace reprise

int main() {
  reprise::Json document;
  document["greedy"] = reprise::against_greedy(26, 33, 4);
  document["wire_bound"] = reprise::wire_bound(4);
  document["time_26"] = reprise::time_planner(26, 64, 2);
  document["time_200"] = reprise::time_planner(200, 8, 1);
  std::printf("%s\n", document.dump().c_str());
}
