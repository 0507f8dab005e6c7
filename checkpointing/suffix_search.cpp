#include "checkpointing/suffix_search.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace reprise {
namespace {

constexpr size_t kCornerStates = 16;
constexpr size_t kMergeEvery = 512;
constexpr double kRounding = 1e-9;  // bounds are sums of doubles; this much of slack keeps them proofs
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

}  // namespace

SuffixSearch::SuffixSearch(const PlanSpace& space, int64_t budget_bytes)
    : space_(space), finish_bound_(space, budget_bytes, true) {
  if (space.micro_batches() > 1) busy_bound_.emplace(space, budget_bytes, false);
  window_.budget_bytes = budget_bytes;
}

int64_t SuffixSearch::least_finish() const {
  const double ticks = finish_bound_.ticks(space_.stages(), static_cast<double>(window_.budget_bytes));
  return static_cast<int64_t>(std::floor(ticks * (1 - kRounding)));
}

double SuffixSearch::least_objective() const { return bound(space_.stages(), {}) * (1 - kRounding); }

std::vector<SuffixState> SuffixSearch::run(const SearchWindow& window) {
  window_ = window;
  cut_ = false;
  work_ = 0;
  least_cut_ = std::numeric_limits<double>::infinity();
  const int stages = space_.stages();
  fronts_.assign(static_cast<size_t>(stages) + 1, {});
  fronts_.back().states.push_back({0, 0, window.least_finish, -1, -1});
  add_corners(fronts_.back());
  for (int p = stages - 1; p >= 0; --p) {
    least_busy_.clear();
    for (size_t i = 0; i < space_.starting(p).size(); ++i) extend(p, static_cast<int32_t>(i));
    merge_found(p);
    Front& front = fronts_[static_cast<size_t>(p)];
    keep_most_promising(p, front.states);
    add_corners(front);
  }
  std::vector<SuffixState> plans;  // of equal bytes or equal time, only the better in the other
  for (const SuffixState& state : fronts_[0].states) {
    if (!plans.empty() && objective(state) >= objective(plans.back())) continue;
    if (!plans.empty() && plans.back().need_bytes == state.need_bytes) plans.pop_back();
    plans.push_back(state);
  }
  std::reverse(plans.begin(), plans.end());
  return plans;
}

Plan SuffixSearch::plan_of(SuffixState state) const {
  Plan plan;
  for (int p = 0; p < space_.stages();) {
    const SegmentChoice& choice = space_.starting(p)[static_cast<size_t>(state.choice)];
    plan.segments.push_back({choice.first, choice.last, choice.recompute});
    plan.save.resize(static_cast<size_t>(choice.last) + 1, choice.level);
    p = choice.last + 1;
    state = fronts_[static_cast<size_t>(p)].states[static_cast<size_t>(state.next)];
  }
  return plan;
}

SuffixState SuffixSearch::put_in_front(const SegmentChoice& choice, const SuffixState& behind) const {
  SuffixState state;
  state.need_bytes = std::max(choice.need_bytes, choice.held_bytes + behind.need_bytes);
  state.busy = choice.busy + behind.busy;
  // Whatever lies in front, the whole finishes no earlier than this: differences below it do not matter.
  state.finish = std::max({behind.finish, choice.finish + behind.busy, window_.least_finish,
                           state.busy + space_.least_finish(choice.first)});
  // Nor does it matter how early the computing is done when the wire ends later in any case.
  if (space_.micro_batches() == 1) state.busy = std::max(state.busy, state.finish - space_.most_finish(choice.first));
  return state;
}

// At least this the objective of every plan that ends in `state`.
double SuffixSearch::bound(int p, const SuffixState& state) const {
  const auto left = static_cast<double>(window_.budget_bytes - state.need_bytes);
  const auto busy = static_cast<double>(state.busy);
  double least = std::max(static_cast<double>(state.finish), busy + finish_bound_.ticks(p, left));
  if (busy_bound_) least += static_cast<double>(space_.micro_batches() - 1) * (busy + busy_bound_->ticks(p, left));
  return least;
}

bool SuffixSearch::is_outside(int p, const SuffixState& state) const {
  const auto most = static_cast<double>(window_.most_ticks);
  return state.need_bytes > window_.budget_bytes || objective(state) > window_.most_ticks ||
         bound(p, state) > most * (1 + kRounding);
}

// By a merged state that has the least finish possible for its `busy`: that need not be compared.
bool SuffixSearch::is_beaten(const Front& front, const SuffixState& state) const {
  const auto& states = front.states;
  const auto behind = std::ranges::upper_bound(states, state.need_bytes, {}, &SuffixState::need_bytes);
  return behind != states.begin() && least_busy_[static_cast<size_t>(behind - states.begin()) - 1] <= state.busy;
}

// All states behind the choice with the choice in front, as far as they may matter.
void SuffixSearch::extend(int p, int32_t choice_index) {
  const SegmentChoice& choice = space_.starting(p)[static_cast<size_t>(choice_index)];
  const Front& behind = fronts_[static_cast<size_t>(choice.last) + 1];
  const Front& front = fronts_[static_cast<size_t>(p)];
  for (size_t c = 0; c < behind.corners.size(); ++c) {
    ++work_;
    const SuffixState best = put_in_front(choice, behind.corners[c]);
    if (best.need_bytes > window_.budget_bytes) break;
    if (is_outside(p, best) || is_beaten(front, best)) continue;
    const size_t end = std::min(behind.states.size(), (c + 1) * kCornerStates);
    work_ += kCornerStates;
    for (size_t i = c * kCornerStates; i < end; ++i) {
      SuffixState state = put_in_front(choice, behind.states[i]);
      if (is_outside(p, state) || is_beaten(front, state)) continue;
      state.choice = choice_index;
      state.next = static_cast<int32_t>(i);
      found_.push_back(state);
    }
  }
  if (found_.size() > kMergeEvery + front.states.size()) merge_found(p);
}

// Keeps, of the states so far and those found, the ones that no other beats in bytes, busy and finish. Scans them by
// rising bytes; `stairs` are the pairs (busy, finish) of the states passed, rising in busy and falling in finish.
void SuffixSearch::merge_found(int p) {
  std::vector<SuffixState>& states = fronts_[static_cast<size_t>(p)].states;
  const auto by_bytes = [](const SuffixState& a, const SuffixState& b) {
    return std::tie(a.need_bytes, a.busy, a.finish) < std::tie(b.need_bytes, b.busy, b.finish);
  };
  std::sort(found_.begin(), found_.end(), by_bytes);
  std::vector<SuffixState> all(states.size() + found_.size());
  std::merge(states.begin(), states.end(), found_.begin(), found_.end(), all.begin(), by_bytes);
  found_.clear();
  states.clear();
  least_busy_.clear();
  std::vector<std::pair<int64_t, int64_t>> stairs;
  int64_t least_busy = kNever;
  for (const SuffixState& state : all) {
    const std::pair<int64_t, int64_t> step{state.busy, state.finish};
    auto above = std::upper_bound(stairs.begin(), stairs.end(), std::pair{state.busy, kNever});
    if (above != stairs.begin() && std::prev(above)->second <= state.finish) continue;
    auto from = std::lower_bound(stairs.begin(), above, std::pair{state.busy, int64_t{0}});
    const auto to = std::find_if(from, stairs.end(), [&](const auto& other) { return other.second < state.finish; });
    from = stairs.erase(from, to);
    stairs.insert(from, step);
    if (state.finish <= std::max(window_.least_finish, state.busy + space_.least_finish(p))) {
      least_busy = std::min(least_busy, state.busy);
    }
    states.push_back(state);
    least_busy_.push_back(least_busy);
  }
}

// Cuts a front to the window's width: by the bound on the time, then by bytes.
void SuffixSearch::keep_most_promising(int p, std::vector<SuffixState>& states) {
  if (states.size() <= window_.width) return;
  std::vector<std::pair<double, size_t>> ranks;  // states come by rising bytes
  for (const SuffixState& state : states) ranks.emplace_back(bound(p, state), ranks.size());
  const auto middle = ranks.begin() + static_cast<std::ptrdiff_t>(window_.width);
  std::nth_element(ranks.begin(), middle, ranks.end());
  least_cut_ = std::min(least_cut_, middle->first);
  std::sort(ranks.begin(), middle, [](const auto& a, const auto& b) { return a.second < b.second; });
  for (size_t i = 0; i < window_.width; ++i) states[i] = states[ranks[i].second];
  states.resize(window_.width);
  cut_ = true;
}

void SuffixSearch::add_corners(Front& front) {
  for (size_t i = 0; i < front.states.size(); ++i) {
    const SuffixState& state = front.states[i];
    if (i % kCornerStates == 0) front.corners.push_back(state);
    SuffixState& corner = front.corners.back();
    corner.busy = std::min(corner.busy, state.busy);
    corner.finish = std::min(corner.finish, state.finish);
  }
}

}  // namespace reprise
