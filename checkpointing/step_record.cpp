#include "checkpointing/step_record.h"

#include <chrono>
#include <stdexcept>

#include "checkpointing/memory_meter.h"

namespace reprise {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

StepRecord::StepRecord(size_t capacity) : capacity_(capacity) {
  if (capacity == 0) throw std::invalid_argument("StepRecord: expected a capacity of at least 1");
}

void StepRecord::begin_step(int64_t step) {
  events_.clear();
  for (double& sum : sums_) sum = 0;
  step_ = step;
  word_.store(static_cast<uint64_t>(step_) << 24, std::memory_order_relaxed);
}

void StepRecord::begin(EventKind kind, int stage, int micro_batch) {
  const uint64_t phase = static_cast<uint64_t>(kind) + 1;
  word_.store(static_cast<uint64_t>(step_) << 24 | phase << 16 | static_cast<uint16_t>(stage),
              std::memory_order_relaxed);
  open_ = {kind, static_cast<int16_t>(stage), static_cast<int16_t>(micro_batch), now_seconds(), 0, 0};
}

void StepRecord::end() {
  open_.end_seconds = now_seconds();
  open_.live_bytes = MemoryMeter::current_bytes();
  sums_[static_cast<size_t>(open_.kind)] += open_.end_seconds - open_.start_seconds;
  if (events_.size() == capacity_) events_.pop_front();
  events_.push_back(open_);
  word_.store(static_cast<uint64_t>(step_) << 24, std::memory_order_relaxed);
}

std::vector<StageEvent> StepRecord::events() const { return {events_.begin(), events_.end()}; }

double StepRecord::seconds(EventKind kind) const { return sums_[static_cast<size_t>(kind)]; }

}  // namespace reprise
