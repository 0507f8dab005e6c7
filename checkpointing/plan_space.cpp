#include "checkpointing/plan_space.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace reprise {
namespace {

constexpr int64_t kUnreached = std::numeric_limits<int64_t>::max();

// More than any plan's step takes.
double most_seconds(const CostTable& costs) {
  double seconds = 0;
  for (const StageCost& stage : costs.stages) {
    double extra = 0;
    for (const SaveCost& save : stage.saves) extra = std::max(extra, save.extra_seconds);
    seconds += 2 * stage.forward_seconds + stage.backward_seconds + extra;
  }
  return seconds * static_cast<double>(costs.micro_batches) + wire_seconds_up_to(costs).back();
}

bool at_least_as_good(const SegmentChoice& a, const SegmentChoice& b) {
  return a.last == b.last && a.held_bytes <= b.held_bytes && a.need_bytes <= b.need_bytes && a.busy <= b.busy &&
         a.finish <= b.finish;
}

bool is_whole_layer(const CostTable& costs, int first, int last) {
  const int layer = costs[first].layer;
  return layer >= 0 && costs[last].layer == layer && (first == 0 || costs[first - 1].layer != layer) &&
         (last + 1 == costs.size() || costs[last + 1].layer != layer);
}

}  // namespace

PlanSpace::PlanSpace(const CostTable& costs, Choices choices)
    : micro_batches_(costs.micro_batches), starting_(costs.stages.size()) {
  // A power of ten, so that times with few decimals stay exact.
  if (const double most = most_seconds(costs); most > 0)
    ticks_per_second_ = std::pow(10, 18 - std::ceil(std::log10(most)));
  total_ticks_ = ticks(most_seconds(costs)) + 1;
  std::vector<int64_t> wire;  // G
  for (const double seconds : wire_seconds_up_to(costs)) wire.push_back(ticks(seconds));

  for (int s = 0; s < costs.size(); ++s) {
    for (const SaveLevel level : kSaveLevels) {
      if (choices == Choices::whole_layers && level != SaveLevel::all) continue;
      const SaveCost& save = costs[s].at(level);
      const int64_t busy = ticks(costs[s].backward_seconds) + ticks(save.extra_seconds);
      const int64_t workspace = std::max(save.forward_workspace_bytes, save.backward_workspace_bytes);
      add({s, s, false, level, save.kept_bytes, save.kept_bytes + workspace, busy,
           busy + wire[static_cast<size_t>(s)]});
    }
    add_recomputed(costs, wire, s, choices);
  }
  find_extremes();
}

int64_t PlanSpace::ticks(double seconds) const { return std::llround(seconds * ticks_per_second_); }

// Choices come by first stage, then by last.
void PlanSpace::add(const SegmentChoice& choice) {
  auto& list = starting_[static_cast<size_t>(choice.first)];
  auto same_stages = list.end();
  while (same_stages != list.begin() && std::prev(same_stages)->last == choice.last) --same_stages;
  if (std::any_of(same_stages, list.end(), [&](const auto& other) { return at_least_as_good(other, choice); })) return;
  list.erase(
      std::remove_if(same_stages, list.end(), [&](const auto& other) { return at_least_as_good(choice, other); }),
      list.end());
  list.push_back(choice);
}

// Segments first … last for each last, growing the sums and maxima of each level stage by stage.
void PlanSpace::add_recomputed(const CostTable& costs, const std::vector<int64_t>& wire, int first, Choices choices) {
  struct Run {
    int64_t kept = 0, forward_ticks = 0, busy = 0, finish = 0;
    int64_t forward_need = 0, replay_need = 0, backward_need = 0;
  };
  std::array<Run, kSaveLevels.size()> runs;
  const int64_t boundary = costs[first].boundary_bytes;
  for (int s = first; s < costs.size() && costs[s].recomputable; ++s) {
    const int64_t own = s > first ? costs[s].boundary_bytes : 0;
    const int64_t waiting = s + 1 < costs.size() ? costs[s + 1].boundary_bytes : 0;  // gradient at the segment's end
    for (const SaveLevel level : kSaveLevels) {
      const SaveCost& save = costs[s].at(level);
      Run& run = runs[static_cast<size_t>(level)];
      const int64_t busy = ticks(costs[s].backward_seconds) + ticks(save.extra_seconds);
      run.kept += save.kept_bytes;
      run.forward_ticks += ticks(costs[s].forward_seconds);
      run.busy += busy;
      run.finish = std::max(run.finish, wire[static_cast<size_t>(s)]) + busy;
      run.forward_need = std::max(run.forward_need, boundary + own + save.forward_workspace_bytes);
      run.replay_need = std::max(run.replay_need, run.kept + save.forward_workspace_bytes);
      run.backward_need = std::max(run.backward_need, run.kept + save.backward_workspace_bytes);
      if (choices == Choices::whole_layers && (level != SaveLevel::all || !is_whole_layer(costs, first, s))) continue;
      add({first, s, true, level, boundary, std::max({run.forward_need, run.replay_need + waiting, run.backward_need}),
           run.busy + run.forward_ticks, run.finish + run.forward_ticks});
    }
  }
}

void PlanSpace::find_extremes() {
  const auto count = starting_.size();
  least_finish_.assign(count + 1, kUnreached);
  most_finish_.assign(count + 1, 0);
  least_finish_[0] = 0;
  for (size_t p = 0; p < count; ++p) {
    for (const SegmentChoice& choice : starting_[p]) {
      const auto end = static_cast<size_t>(choice.last) + 1;
      least_finish_[end] = std::min(least_finish_[end], std::max(least_finish_[p] + choice.busy, choice.finish));
      most_finish_[end] = std::max(most_finish_[end], std::max(most_finish_[p] + choice.busy, choice.finish));
    }
  }
  std::vector<int64_t> least_need(count + 1, kUnreached), most_need(count + 1, 0);  // of the stages ≥ p
  least_need[count] = 0;
  for (size_t p = count; p-- > 0;) {
    for (const SegmentChoice& choice : starting_[p]) {
      const auto end = static_cast<size_t>(choice.last) + 1;
      least_need[p] = std::min(least_need[p], std::max(choice.need_bytes, choice.held_bytes + least_need[end]));
      most_need[p] = std::max(most_need[p], std::max(choice.need_bytes, choice.held_bytes + most_need[end]));
    }
  }
  smallest_peak_ = least_need[0];
  largest_peak_ = most_need[0];
}

}  // namespace reprise
