// Prediction and gain of plans on the clock: plans of every policy, executed interleaved on one model, one rank, random
// tokens. planner_executed CONFIG [key.sub=value ...] prints a table, the figures, and one JSON document as the last
// line.

#include <map>

#include "benchmarks/executed.h"
#include "launcher/measured_costs.h"

namespace reprise::bench {
namespace {

int64_t kept_by_layers(const CostTable& costs) {
  int64_t bytes = 0;
  for (const StageCost& stage : costs.stages) bytes += stage.layer < 0 ? 0 : stage.at(SaveLevel::all).kept_bytes;
  return bytes;
}

// Mean over the bytes between the first and the last cap that a baseline fits of baseline seconds ÷ ours.
double area_mean(const std::vector<const Cell*>& ours, const std::vector<const Cell*>& baselines) {
  int64_t low = INT64_MAX, high = 0;
  for (const Cell* cell : baselines) {
    low = std::min(low, cell->peak_bytes);
    high = std::max(high, cell->peak_bytes);
  }
  constexpr int kPoints = 1000;
  double sum = 0;
  for (int i = 0; i < kPoints; ++i) {
    const int64_t cap = low + (high - low) * i / kPoints;
    sum += fastest_within(baselines, cap)->median() / fastest_within(ours, cap)->median();
  }
  return sum / kPoints;
}

// All cells with the group each belongs to.
class Cells {
 public:
  Cells(Bench& bench, const CostTable& costs) : bench_(bench), costs_(costs) {}

  void add(const std::string& group, const std::string& name, Plan plan) {
    cells_.push_back(bench_.cell(name, costs_, std::move(plan)));
    groups_.push_back(group);
  }

  void add_baselines() {
    for (const SaveLevel level : kSaveLevels) {
      const std::string group = level == SaveLevel::all ? "baseline" : "other levels";
      const std::string suffix = level == SaveLevel::all ? "" : fmt::format(", {}", name_of(level));
      add(group, "none" + suffix, named(costs_, "none", 1, level));
      add(group, "full" + suffix, named(costs_, "full", 1, level));
      for (const int k : {2, 3, 4}) {
        add(group, fmt::format("every: {}{}", k, suffix), named(costs_, "every", k, level));
        add(group, fmt::format("group: {}{}", k, suffix), named(costs_, "group", k, level));
      }
    }
  }

  void add_budget(const std::string& group, int64_t budget) {
    add(group, fmt::format("budget {:.1f} MiB", mib(budget)), fastest_plan(costs_, budget).plan);
  }

  // Ours at every baseline's peak, and at six budgets over the whole range all planners.
  void add_planned() {
    const int64_t none = cells_.front().planned.predicted.peak_bytes, smallest = smallest_peak(costs_);
    for (size_t i = 0, count = cells_.size(); i < count; ++i) {
      const int64_t peak = cells_[i].planned.predicted.peak_bytes;
      if (peak <= none) add_budget("budget", peak);
    }
    constexpr int kBudgets = 6;
    for (int i = 0; i < kBudgets; ++i) {
      const int64_t budget = smallest + (none - smallest) * i / (kBudgets - 1);
      add_budget("budget", budget);
      add("others", fmt::format("greedy {}/{}", i, kBudgets),
          greedy_plan(costs_, kept_by_layers(costs_) * i / kBudgets));
      try {
        add("others", fmt::format("knapsack {:.1f} MiB", mib(budget)), knapsack_plan(costs_, budget).plan);
      } catch (const DoesNotFit&) {
        // Whole layers alone do not get down to the smallest peaks.
      }
    }
    add_budget("half", none - kept_by_layers(costs_) / 2);
  }

  std::vector<const Cell*> of(const std::vector<std::string>& groups) const {
    std::vector<const Cell*> chosen;
    for (size_t i = 0; i < cells_.size(); ++i) {
      if (std::count(groups.begin(), groups.end(), groups_[i]) > 0) chosen.push_back(&cells_[i]);
    }
    return chosen;
  }

  Json print() const {
    Json rows = Json::array();
    print_head();
    for (size_t i = 0; i < cells_.size(); ++i) {
      print_cell(cells_[i]);
      rows.push_back(json_of(cells_[i], groups_[i]));
    }
    return rows;
  }

  std::vector<Cell>& all() { return cells_; }

 private:
  Bench& bench_;
  const CostTable& costs_;
  std::vector<Cell> cells_;
  std::vector<std::string> groups_;
};

Json figures_of(Cells& cells, const CostTable& costs) {
  std::vector<double> step_misses, peaks_over;
  for (const Cell& cell : cells.all()) {
    const Prediction& planned = cell.planned.predicted;
    peaks_over.push_back(static_cast<double>(planned.peak_bytes) / static_cast<double>(cell.peak_bytes) - 1);
    step_misses.push_back(std::abs(planned.step_seconds / cell.median() - 1));
  }
  std::sort(step_misses.begin(), step_misses.end());
  std::sort(peaks_over.begin(), peaks_over.end());
  const std::vector<const Cell*> ours = cells.of({"budget", "half"});
  const Cell& keeping = cells.all().front();
  int64_t as_fast = keeping.peak_bytes;
  for (const Cell* cell : ours) {
    if (cell->median() <= 1.01 * keeping.median()) as_fast = std::min(as_fast, cell->peak_bytes);
  }
  return {{"peak_over_lowest", peaks_over.front()},
          {"peak_over_highest", peaks_over.back()},
          {"step_miss_median", step_misses[step_misses.size() / 2]},
          {"step_miss_worst", step_misses.back()},
          {"area_mean_against_level_all", area_mean(ours, cells.of({"baseline"}))},
          {"area_mean_against_all_levels", area_mean(ours, cells.of({"baseline", "other levels"}))},
          {"slower_at_half_of_kept_bytes", cells.of({"half"}).front()->median() / keeping.median() - 1},
          {"activation_bytes_within_1_percent", static_cast<double>(as_fast - costs.base_bytes) /
                                                    static_cast<double>(keeping.peak_bytes - costs.base_bytes)}};
}

int compare_plans(const Config& config, int rounds) {
  const CostTable costs = measure_costs(config, {}, 1);
  Bench bench(config);
  Cells cells(bench, costs);
  cells.add_baselines();
  cells.add_planned();
  bench.execute(cells.all(), rounds);
  const Json rows = cells.print(), figures = figures_of(cells, costs);
  for (const auto& [name, value] : figures.items()) fmt::print("{:<36} {:.4f}\n", name, value.get<double>());
  fmt::print("{}\n", Json{{"figures", figures}, {"rows", rows}}.dump());
  return 0;
}

}  // namespace
}  // namespace reprise::bench

int main(int argc, char** argv) { return reprise::bench::run_benchmark(argc, argv, reprise::bench::compare_plans); }
