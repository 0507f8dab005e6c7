#include "monitoring/recent_steps.h"

#include <fmt/format.h>

#include <utility>

namespace reprise {

static constexpr size_t kMost = 16;

RecentSteps::RecentSteps(const std::vector<StepReport>& all)
    : steps_(all.end() - static_cast<std::ptrdiff_t>(std::min(all.size(), kMost)), all.end()) {}

void RecentSteps::add(const StepReport& report) {
  if (steps_.size() == kMost) steps_.erase(steps_.begin());
  steps_.push_back(report);
}

double RecentSteps::mean(double StepReport::*number) const {
  double sum = 0;
  for (const StepReport& step : steps_) sum += step.*number;
  return steps_.empty() ? 0 : sum / static_cast<double>(steps_.size());
}

double RecentSteps::tokens_per_second() const {
  const double seconds = mean(&StepReport::step_seconds);
  return seconds > 0 ? static_cast<double>(steps_.back().tokens) / seconds : 0;  // all have as many
}

std::string RecentSteps::straggler() const {
  for (const auto& [does, spread] :
       {std::pair{"computes", &StepReport::rank_compute}, {"waits for data", &StepReport::rank_data}}) {
    double own = 0, median = 0;
    const int rank = steps_.empty() ? 0 : (steps_.back().*spread).max_rank;
    for (const StepReport& step : steps_) {
      const RankSpread& ranks = step.*spread;
      own += ranks.max_rank == rank ? ranks.max : ranks.median;
      median += ranks.median;
    }
    const double steps = mean(&StepReport::step_seconds) * static_cast<double>(steps_.size());
    if (own <= 1.3 * median || own - median <= 0.05 * steps) continue;
    return fmt::format("rank {} {} {:.1f} times the median", rank, does, own / median);
  }
  return "";
}

}  // namespace reprise
