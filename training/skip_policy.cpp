#include "training/skip_policy.h"

#include <fmt/format.h>

#include <limits>

namespace reprise {

double SkipPolicy::norm_limit() const {
  constexpr double kMost = std::numeric_limits<float>::max();  // what an infinite norm is above
  if (setting_.on_spike == OnSpike::off || std::ssize(memory_.norms) < kFewestUpdates) return kMost;
  return std::min(setting_.spike_factor * median(memory_.norms), kMost);
}

void SkipPolicy::note(const StepReport& report) {
  std::erase_if(memory_.skipped, [&](int64_t step) { return step <= report.step - kWindow; });
  if (report.skip_reason == "overflow") return;
  if (report.skipped) return memory_.skipped.push_back(report.step);
  if (std::ssize(memory_.norms) == kWindow) memory_.norms.erase(memory_.norms.begin());
  memory_.norms.push_back(report.grad_norm);
}

bool SkipPolicy::must_stop(const StepReport& report) const {
  if (!report.skipped || report.skip_reason == "overflow") return false;
  const bool is_told =
      report.skip_reason == "spike" ? setting_.on_spike == OnSpike::stop : setting_.on_non_finite == NonFinite::stop;
  return is_told || std::ssize(memory_.skipped) > setting_.skip_limit;
}

std::string SkipPolicy::describe(const StepReport& report) const {
  const bool is_spike = report.skip_reason == "spike";
  const std::string what =
      is_spike ? fmt::format("the gradient norm {} is over {} times the median of the last updates, {}",
                             report.grad_norm, setting_.spike_factor, median(memory_.norms))
               : fmt::format("the gradient is not finite (loss {}, gradient norm {})", report.loss, report.grad_norm);
  const bool is_limit = std::ssize(memory_.skipped) > setting_.skip_limit;
  const std::string limit = fmt::format("; {} of the last {} steps were skipped, more than optimizer.skip_limit",
                                        memory_.skipped.size(), kWindow);
  const std::string advice = fmt::format("set optimizer.{}: skip", is_spike ? "on_spike" : "on_non_finite");
  return fmt::format(
      "step {}: {}{}; samples {} to {}; the weights are those of step {}. To go on, {}; a lower "
      "optimizer.learning_rate needs a new run.name, with run.init=SNAPSHOT for the weights",
      report.step, what, is_limit ? limit : "", report.samples[0], report.samples[1], report.step - 1,
      is_limit ? "look at the data of these samples" : advice);
}

}  // namespace reprise
