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
    const auto& [all, lean, input] = stage.saves;
    const double extra = std::max({all.extra_seconds, lean.extra_seconds, input.extra_seconds});
    seconds += 2 * stage.forward_seconds + stage.backward_seconds + extra;
  }
  return seconds * static_cast<double>(costs.micro_batches) + wire_seconds_up_to(costs).back();
}

bool at_least_as_good(const SegmentChoice& a, const SegmentChoice& b) {
  return a.held_bytes <= b.held_bytes && a.need_bytes <= b.need_bytes && a.busy <= b.busy && a.finish <= b.finish;
}

}  // namespace

PlanSpace::PlanSpace(const CostTable& costs, const IsAllowed& is_allowed)
    : micro_batches_(costs.micro_batches), starting_(costs.stages.size()) {
  // A power of ten, so that times with few decimals stay exact.
  if (const double most = most_seconds(costs); most > 0)
    ticks_per_second_ = std::pow(10, 18 - std::ceil(std::log10(most)));
  total_ticks_ = ticks(most_seconds(costs)) + 1;
  std::vector<int64_t> wire;  // (1-q) G; the rest, q G_L, is the same for every plan
  for (const double seconds : wire_seconds_up_to(costs)) wire.push_back(ticks((1 - compute_share_of(costs)) * seconds));

  for (int s = 0; s < costs.size(); ++s) {
    for (const SegmentChoice& choice : choices_from(costs, wire, s)) {
      if (!is_allowed || is_allowed(choice)) add(choice);
    }
  }
  find_extremes();
}

int64_t PlanSpace::ticks(double seconds) const { return std::llround(seconds * ticks_per_second_); }

// By last stage. Segments of several stages grow the sums and maxima of each level stage by stage.
std::vector<SegmentChoice> PlanSpace::choices_from(const CostTable& costs, const std::vector<int64_t>& wire,
                                                   int first) const {
  std::vector<SegmentChoice> choices;
  const auto busy_ticks = [&](int s, const SaveCost& save) {
    return ticks(costs[s].backward_seconds) + ticks(save.extra_seconds);
  };
  // What the stages below finish at, the stage's own gradients and its backward put behind.
  const auto finish_ticks = [&](int s, int64_t below, int64_t busy) {
    const int64_t late = ticks(costs[s].late_seconds), *const own = &wire[2 * static_cast<size_t>(s)];
    return std::max(std::max(below, own[0]) + late, own[1]) + busy - late;
  };
  for (const SaveLevel level : kSaveLevels) {
    const SaveCost& save = costs[first].at(level);
    const int64_t busy = busy_ticks(first, save);
    const int64_t workspace = std::max(save.forward_workspace_bytes, save.backward_workspace_bytes);
    choices.push_back(
        {first, first, false, level, save.kept_bytes, save.kept_bytes + workspace, busy, finish_ticks(first, 0, busy)});
  }
  struct Run {
    int64_t kept = 0, forward_ticks = 0, busy = 0, finish = 0;
    int64_t need = 0, replay_need = 0;
  };
  std::array<Run, kSaveLevels.size()> runs;
  const int64_t boundary = costs[first].boundary_bytes;
  for (int s = first; s < costs.size() && costs[s].recomputable; ++s) {
    const int64_t own = s > first ? costs[s].boundary_bytes : 0;
    const int64_t waiting = s + 1 < costs.size() ? costs[s + 1].boundary_bytes : 0;  // gradient at the segment's end
    for (const SaveLevel level : kSaveLevels) {
      const SaveCost& save = costs[s].at(level);
      Run& run = runs[static_cast<size_t>(level)];
      const int64_t busy = busy_ticks(s, save);
      run.kept += save.kept_bytes;
      run.forward_ticks += ticks(costs[s].forward_seconds);
      run.busy += busy;
      run.finish = finish_ticks(s, run.finish, busy);
      run.need = std::max({run.need, boundary + own + save.forward_workspace_bytes,  // its first forward
                           run.kept + save.backward_workspace_bytes});
      run.replay_need = std::max(run.replay_need, run.kept + save.forward_workspace_bytes);
      const int64_t need = std::max(run.need, run.replay_need + waiting);
      const int64_t replay = run.forward_ticks - ticks(costs[s].early_stop_seconds);
      choices.push_back({first, s, true, level, boundary, need, run.busy + replay, run.finish + replay});
    }
  }
  return choices;
}

void PlanSpace::add(const SegmentChoice& choice) {
  auto& list = starting_[static_cast<size_t>(choice.first)];
  auto same_stages = list.end();
  while (same_stages != list.begin() && std::prev(same_stages)->last == choice.last) --same_stages;
  if (std::any_of(same_stages, list.end(), [&](const auto& other) { return at_least_as_good(other, choice); })) return;
  const auto is_beaten = [&](const auto& other) { return at_least_as_good(choice, other); };
  list.erase(std::remove_if(same_stages, list.end(), is_beaten), list.end());
  list.push_back(choice);
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
  std::vector<int64_t> least_need(count + 1, kUnreached);  // of the stages ≥ p
  least_need[count] = 0;
  for (size_t p = count; p-- > 0;) {
    for (const SegmentChoice& choice : starting_[p]) {
      const int64_t behind = least_need[static_cast<size_t>(choice.last) + 1];
      least_need[p] = std::min(least_need[p], std::max(choice.need_bytes, choice.held_bytes + behind));
    }
  }
  smallest_peak_ = least_need[0];
}

}  // namespace reprise
