#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "checkpointing/plan_space.h"
#include "checkpointing/prefix_bound.h"

namespace reprise {

// What the search is after: plans that need at most `budget_bytes` (base not counted) and take at most `most_ticks`.
struct SearchWindow {
  int64_t budget_bytes = 0;
  int64_t most_ticks = 0;    // of objective()
  int64_t least_finish = 0;  // known: no plan within the budget finishes earlier
  size_t width = 0;          // states kept per stage, the most promising ones
};

// Everything that the stages ≥ p, laid out in some way, mean to the stages below: the bytes they need beside what is
// held before them, how long their backward is busy, and when all of their gradients are through.
struct SuffixState {
  int64_t need_bytes = 0, busy = 0, finish = 0;
  int32_t choice = -1, next = -1;  // the segment put in front, and the state of the stages behind it that it came from
};

// Dynamic programming over plans, last stage first. Putting segment (held, need, C, D) in front of a state gives
// need' = max(need, held + need'), busy' = C + busy, finish' = max(finish, D + busy). Of two states of the same stages,
// one that is nowhere better is dropped, and so is any that provably leads out of the window.
class SuffixSearch {
 public:
  SuffixSearch(const PlanSpace& space, int64_t budget_bytes);

  // n micro-batches, the last of which reduces: (n−1)·busy + finish, what a plan's step takes beside forward and
  // optimizer.
  int64_t objective(const SuffixState& state) const { return (space_.micro_batches() - 1) * state.busy + state.finish; }
  int64_t least_finish() const;    // proven for the budget
  double least_objective() const;  // likewise

  // The plans in the window of which no other one is better in both time and bytes, fastest first: all of them when
  // nothing was cut, otherwise good ones.
  std::vector<SuffixState> run(const SearchWindow& window);
  bool cut() const { return cut_; }
  double least_cut_objective() const { return least_cut_; }  // proven: nothing that was cut leads to less
  int64_t work() const { return work_; }                     // states looked at
  // Of a state that the latest run returned.
  Plan plan_of(SuffixState state) const;

 private:
  struct Front {
    std::vector<SuffixState> states;   // rising need_bytes
    std::vector<SuffixState> corners;  // the best in each respect of kCornerStates neighbours: rejects them all at once
  };

  SuffixState put_in_front(const SegmentChoice& choice, const SuffixState& behind) const;
  double bound(int p, const SuffixState& state) const;
  bool is_outside(int p, const SuffixState& state) const;
  bool is_beaten(const Front& front, const SuffixState& state) const;
  void extend(int p, int32_t choice_index);
  void merge_found(int p);
  void keep_most_promising(int p, std::vector<SuffixState>& states);
  static void add_corners(Front& front);

  const PlanSpace& space_;
  PrefixBound finish_bound_;
  std::optional<PrefixBound> busy_bound_;  // for several micro-batches
  SearchWindow window_;
  std::vector<Front> fronts_;        // by first stage
  std::vector<SuffixState> found_;   // of the stage at work, not merged yet
  std::vector<int64_t> least_busy_;  // likewise: of its first i states, among those with the least finish possible
  bool cut_ = false;
  int64_t work_ = 0;
  double least_cut_ = 0;
};

}  // namespace reprise
