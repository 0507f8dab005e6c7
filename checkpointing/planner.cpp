#include "checkpointing/planner.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "checkpointing/plan_space.h"
#include "checkpointing/policies.h"
#include "checkpointing/suffix_search.h"

namespace reprise {
namespace {

constexpr size_t kFirstWidth = 4, kWiden = 64;
constexpr double kRounding = 1e-8;
constexpr size_t kMostWidth = size_t{1} << 14;  // with several micro-batches; one is searched as widely as it takes
constexpr size_t kFrontierWidth = size_t{1} << 15;
constexpr int64_t kFrontierWork = 180'000'000;  // states looked at, some seconds; past it the frontier is sampled
constexpr int64_t kSampledPoints = 16;
constexpr int64_t kUnlimitedBytes = int64_t{1} << 62;

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
  return price(costs, space, Rounds(space, budget_bytes - costs.base_bytes).run());
}

}  // namespace

DoesNotFit::DoesNotFit(PlannedStep smallest_plan)
    : std::runtime_error("no plan fits: the smallest peak possible is " +
                         std::to_string(smallest_plan.predicted.peak_bytes) + " bytes"),
      smallest(std::move(smallest_plan)) {}

PlannedStep fastest_plan(const CostTable& costs, int64_t budget_bytes) {
  return fastest_of(costs, PlanSpace(costs), budget_bytes);
}

PlannedStep knapsack_plan(const CostTable& costs, int64_t budget_bytes) {
  CostTable wireless = costs;
  wireless.wire.reset();
  const auto layer_at = [&](int s) { return s < 0 || s >= costs.size() ? -1 : costs[s].layer; };
  const auto is_allowed = [&](const SegmentChoice& choice) {
    const int layer = layer_at(choice.first);
    const bool is_whole_layer = layer >= 0 && layer_at(choice.last) == layer && layer_at(choice.first - 1) != layer &&
                                layer_at(choice.last + 1) != layer;
    return choice.level == SaveLevel::all && (!choice.recompute || is_whole_layer);
  };
  return fastest_of(costs, PlanSpace(wireless, is_allowed), budget_bytes);
}

// From the fastest plan towards the smallest, a window of time at once: one search finds all points in it. The window
// grows until a search has to cut.
std::vector<FrontierPoint> frontier(const CostTable& costs) {
  const PlanSpace space(costs);
  std::vector<FrontierPoint> points;
  const Found fastest = Rounds(space, kUnlimitedBytes).run();
  int64_t budget = 0, done = fastest.ticks, window = (done >> 17) + 1, work = 0;
  const auto add = [&](const Plan& plan, int64_t need_bytes, bool follows_gap) {
    const Prediction predicted = predict(costs, plan);
    points.push_back({predicted.peak_bytes, predicted.step_seconds, follows_gap});
    budget = need_bytes - 1;
  };
  add(fastest.plan, fastest.need_bytes, false);
  while (budget >= space.smallest_peak() && work < kFrontierWork) {
    SuffixSearch search(space, budget);
    const int64_t bounds_hold_to = std::max(budget - (budget - space.smallest_peak()) / 8, space.smallest_peak());
    while (budget >= bounds_hold_to && work < kFrontierWork) {
      const int64_t least_finish = space.micro_batches() == 1 ? done + 1 : search.least_finish();
      const std::vector<SuffixState> plans = search.run({budget, done + window, least_finish, kFrontierWidth});
      work += search.work();
      if (search.cut()) {
        window = window / 4 + 1;
        continue;
      }
      for (const SuffixState& state : plans) add(search.plan_of(state), state.need_bytes, false);
      done += window;
      window = std::min(2 * window, space.total_ticks());
    }
  }
  const int64_t stride = (budget - space.smallest_peak()) / kSampledPoints + 1;
  while (budget >= space.smallest_peak()) {
    const Found found = Rounds(space, std::max(budget + 1 - stride, space.smallest_peak())).run();
    add(found.plan, found.need_bytes, true);
  }
  return points;
}

Plan greedy_plan(const CostTable& costs, int64_t bytes_to_save) {
  struct Layer {
    int number;
    int64_t saved_bytes;
    double seconds = 0;
    bool recomputable = true;
    double bytes_per_second() const { return static_cast<double>(saved_bytes) / seconds; }
  };
  std::vector<Layer> layers;
  for (const StageCost& stage : costs.stages) {
    if (stage.layer < 0) continue;
    if (layers.empty() || layers.back().number != stage.layer) layers.push_back({stage.layer, -stage.boundary_bytes});
    Layer& layer = layers.back();
    layer.saved_bytes += stage.at(SaveLevel::all).kept_bytes;
    layer.seconds += stage.forward_seconds;
    layer.recomputable &= stage.recomputable;
  }
  std::erase_if(layers, [](const Layer& layer) { return !layer.recomputable; });
  std::ranges::stable_sort(layers, std::greater(), &Layer::bytes_per_second);
  PolicySetting taken{.policy = "list"};
  for (const Layer& layer : layers) {
    if (layer.saved_bytes > bytes_to_save) break;
    bytes_to_save -= layer.saved_bytes;
    taken.list.push_back(layer.number);
  }
  return plan_of(taken, shapes_of(costs));
}

}  // namespace reprise
