#pragma once

#include <string>
#include <vector>

#include "monitoring/step_report.h"

namespace reprise {

// The last 16 steps: what figures for people follow without trembling.
class RecentSteps {
 public:
  RecentSteps() = default;
  explicit RecentSteps(const std::vector<StepReport>& all);
  void add(const StepReport& report);
  double mean(double StepReport::*number) const;  // 0 of nothing
  double tokens_per_second() const;

  // "rank 3 computes 1.6 times the median" while a rank takes over 1.3 times the ranks' median for compute or data and
  // that is over 5 % of the step; else empty. In steps where another was the slowest, it counts with the median.
  std::string straggler() const;

 private:
  std::vector<StepReport> steps_;
};

}  // namespace reprise
