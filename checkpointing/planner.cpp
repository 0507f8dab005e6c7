#include "checkpointing/planner.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "checkpointing/plan_space.h"
#include "checkpointing/suffix_search.h"

namespace reprise {
namespace {

constexpr size_t kFirstWidth = 4, kWiden = 64;
constexpr double kRounding = 1e-8;
constexpr size_t kMostWidth =
    size_t{1} << 17;                  // with several micro-batches; with one the search is as wide as it takes
constexpr size_t kExactPoints = 512;  // of the frontier; the rest of a longer one is sampled
constexpr int64_t kSampledPoints = 64;

struct Found {
  Plan plan;
  int64_t ticks = 0, need_bytes = 0;
  double proven_ticks = 0;  // no plan within the budget takes less
};

// Searches in rounds, each wider than the one before and only for what would be better than the best plan so far. A
// round in which nothing was cut and nothing found proves that plan the best.
class Rounds {
 public:
  Rounds(const PlanSpace& space, int64_t budget_bytes)
      : space_(space), budget_bytes_(budget_bytes), search_(space, budget_bytes) {}

  Found run() {
    const double proven = find_fastest();
    if (is_at_the_bound()) find_smallest_of_the_fastest();
    best_->proven_ticks = proven;
    return *best_;
  }

 private:
  bool one_micro_batch() const { return space_.micro_batches() == 1; }
  bool is_wide_enough() const { return !one_micro_batch() && width_ >= kMostWidth; }

  // Then the bound is a limit that many plans may reach (the wire's, say), and the smallest of them is better sought
  // alone.
  bool is_at_the_bound() const {
    return best_ && static_cast<double>(best_->ticks) <= search_.least_objective() * (1 + kRounding);
  }

  void take(const std::vector<SuffixState>& plans) {
    if (!plans.empty()) best_ = {search_.plan_of(plans[0]), search_.objective(plans[0]), plans[0].need_bytes, 0};
  }

  // Returns the ticks that no plan can stay below.
  double find_fastest() {
    for (;; width_ *= kWiden) {
      const int64_t most = best_ ? best_->ticks - is_at_the_bound() : space_.total_ticks();
      take(search_.run({budget_bytes_, most, search_.least_finish(), width_}));
      if (!search_.cut()) break;
      if (best_ && one_micro_batch() && best_->ticks <= space_.least_finish(space_.stages())) break;
      if (best_ && is_wide_enough()) return std::min(static_cast<double>(best_->ticks), search_.least_cut_objective());
    }
    return static_cast<double>(best_->ticks);
  }

  void find_smallest_of_the_fastest() {
    for (;; width_ *= kWiden) {
      const int64_t least_finish = one_micro_batch() ? best_->ticks : search_.least_finish();
      take(search_.run({best_->need_bytes - 1, best_->ticks, least_finish, width_}));
      if (!search_.cut() || is_wide_enough()) break;
    }
  }

  const PlanSpace& space_;
  const int64_t budget_bytes_;
  SuffixSearch search_;
  size_t width_ = kFirstWidth;
  std::optional<Found> best_;
};

PlannedStep price(const CostTable& costs, const PlanSpace& space, const Found& found) {
  PlannedStep step{found.plan, predict(costs, found.plan), 0};
  const double lost = space.seconds(static_cast<double>(found.ticks) - found.proven_ticks);
  if (lost > 0) step.gap = lost / step.predicted.step_seconds;
  return step;
}

// `costs` prices the plan, `space` holds the choices it is made of.
PlannedStep fastest_of(const CostTable& costs, const PlanSpace& space, int64_t budget_bytes) {
  if (budget_bytes - costs.base_bytes < space.smallest_peak()) {
    throw DoesNotFit(price(costs, space, Rounds(space, space.smallest_peak()).run()));
  }
  const int64_t budget = std::min(budget_bytes - costs.base_bytes, space.largest_peak());
  return price(costs, space, Rounds(space, budget).run());
}

}  // namespace

DoesNotFit::DoesNotFit(PlannedStep smallest)
    : std::runtime_error("no plan fits: the smallest peak possible is " +
                         std::to_string(smallest.predicted.peak_bytes) + " bytes"),
      smallest_(std::move(smallest)) {}

PlannedStep fastest_plan(const CostTable& costs, int64_t budget_bytes) {
  return fastest_of(costs, PlanSpace(costs), budget_bytes);
}

PlannedStep knapsack_plan(const CostTable& costs, int64_t budget_bytes) {
  CostTable wireless = costs;
  wireless.wire.reset();
  return fastest_of(costs, PlanSpace(wireless, Choices::whole_layers), budget_bytes);
}

// From the fastest plan towards the smallest, each time with one byte less than the last plan needs.
std::vector<FrontierPoint> frontier(const CostTable& costs) {
  const PlanSpace space(costs);
  std::vector<FrontierPoint> points;
  int64_t budget = space.largest_peak(), stride = 0;
  while (budget >= space.smallest_peak()) {
    const Found found = Rounds(space, budget).run();
    const Prediction predicted = predict(costs, found.plan);
    points.push_back({predicted.peak_bytes, predicted.step_seconds, stride > 0});
    if (points.size() == kExactPoints) stride = (found.need_bytes - space.smallest_peak()) / kSampledPoints;
    budget = found.need_bytes - 1;
    if (stride > 0) budget = std::max(found.need_bytes - 1 - stride, std::min(budget, space.smallest_peak()));
  }
  return points;
}

Plan greedy_plan(const CostTable& costs, int64_t bytes_to_save) {
  struct Layer {
    int first, last;
    int64_t saved_bytes;
    double seconds;
    bool recomputable;
    double bytes_per_second() const { return static_cast<double>(saved_bytes) / seconds; }
  };
  std::vector<Layer> layers;
  for (int s = 0; s < costs.size(); ++s) {
    const StageCost& stage = costs[s];
    if (stage.layer < 0) continue;
    if (s == 0 || costs[s - 1].layer != stage.layer) layers.push_back({s, s, -stage.boundary_bytes, 0, true});
    Layer& layer = layers.back();
    layer.last = s;
    layer.saved_bytes += stage.at(SaveLevel::all).kept_bytes;
    layer.seconds += stage.forward_seconds;
    layer.recomputable &= stage.recomputable;
  }
  std::erase_if(layers, [](const Layer& layer) { return !layer.recomputable; });
  std::stable_sort(layers.begin(), layers.end(),
                   [](const Layer& a, const Layer& b) { return a.bytes_per_second() > b.bytes_per_second(); });
  std::vector<int> last_of(costs.stages.size(), -1);  // by first stage of a layer taken
  int64_t left = bytes_to_save;
  for (const Layer& layer : layers) {
    if (layer.saved_bytes > left) break;
    left -= layer.saved_bytes;
    last_of[static_cast<size_t>(layer.first)] = layer.last;
  }
  Plan plan;
  plan.save.assign(costs.stages.size(), SaveLevel::all);
  for (int s = 0; s < costs.size();) {
    const int last = last_of[static_cast<size_t>(s)];
    plan.segments.push_back({s, std::max(s, last), last >= 0});
    s = std::max(s, last) + 1;
  }
  return plan;
}

}  // namespace reprise
