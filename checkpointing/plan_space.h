#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "checkpointing/cost_table.h"

namespace reprise {

// A segment that a plan may contain, at one save level, as the few numbers that decide what it does to a plan. Times
// are whole ticks of the space, so that sums are exact and plans that take equally long compare equal.
struct SegmentChoice {
  int first = 0, last = 0;
  bool recompute = false;
  SaveLevel level = SaveLevel::all;
  int64_t held_bytes = 0;  // from the end of its forward to its backward
  int64_t need_bytes = 0;  // the most it has alive at any moment, what is held before it not counted
  int64_t busy = 0;        // C: ticks of its backward, replay included
  int64_t finish = 0;      // D: ticks until its gradients and those below are through the wire, if nothing came before
};

// The segments that plans of a chain are made of: every kept stage and every run of recomputable stages, at every save
// level, as far as they are allowed, without those that another choice for the same stages beats in everything.
class PlanSpace {
 public:
  using IsAllowed = std::function<bool(const SegmentChoice&)>;
  explicit PlanSpace(const CostTable& costs, const IsAllowed& is_allowed = nullptr);  // not given: all are

  int stages() const { return static_cast<int>(starting_.size()); }
  int64_t micro_batches() const { return micro_batches_; }
  int64_t total_ticks() const { return total_ticks_; }  // more than any step takes; at most 10^18
  const std::vector<SegmentChoice>& starting(int stage) const { return starting_[static_cast<size_t>(stage)]; }

  // Of all ways to lay out the stages below p: the smallest and the largest `finish`.
  int64_t least_finish(int p) const { return least_finish_[static_cast<size_t>(p)]; }
  int64_t most_finish(int p) const { return most_finish_[static_cast<size_t>(p)]; }
  int64_t smallest_peak() const { return smallest_peak_; }  // of any plan, base bytes not counted
  double seconds(double ticks) const { return ticks / ticks_per_second_; }

 private:
  std::vector<SegmentChoice> choices_from(const CostTable& costs, const std::vector<int64_t>& wire, int first) const;
  void add(const SegmentChoice& choice);  // in the order of choices_from
  void find_extremes();
  int64_t ticks(double seconds) const;

  int64_t micro_batches_ = 1, total_ticks_ = 1;
  double ticks_per_second_ = 1;
  std::vector<std::vector<SegmentChoice>> starting_;  // by first stage; shorter ones first
  std::vector<int64_t> least_finish_, most_finish_;
  int64_t smallest_peak_ = 0;
};

}  // namespace reprise
