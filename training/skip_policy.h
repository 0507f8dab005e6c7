#pragma once

#include "monitoring/step_report.h"
#include "training/snapshot_format.h"

namespace reprise {

enum class NonFinite { stop, skip };
enum class OnSpike { off, stop, skip };

struct SkipSetting {
  NonFinite on_non_finite = NonFinite::stop;
  OnSpike on_spike = OnSpike::off;
  double spike_factor = 10;  // a gradient norm over so many medians is a spike
  int64_t skip_limit = 10;   // of the last kWindow steps; one more skipped step ends the run
};

// Which steps make no update, and when that ends the run. A step is skipped when its gradient is not finite or its norm
// is a spike: over spike_factor times the median norm of the last updates, kWindow at most, once there are
// kFewestUpdates; skipped steps do not move the median. A function of what has been reported, hence the same on every
// rank, for every plan and in a resumed run; and known before the step, so that no host waits for a device's norm.
// Overflows of a scaled loss belong to the search for its scale and do not count.
class SkipPolicy {
 public:
  static constexpr int64_t kWindow = 100, kFewestUpdates = 20;

  explicit SkipPolicy(const SkipSetting& setting) : setting_(setting) {}

  double norm_limit() const;                             // of the next step
  void note(const StepReport& report);                   // of every step, once
  bool must_stop(const StepReport& report) const;        // of the step noted last
  std::string describe(const StepReport& report) const;  // of such a step: what was wrong, and what to do; one line

  const SkipMemory& memory() const { return memory_; }
  void resume(const SkipMemory& memory) { memory_ = memory; }

 private:
  const SkipSetting setting_;
  SkipMemory memory_;
};

}  // namespace reprise
