#include "checkpointing/step_record.h"

#include <chrono>
#include <stdexcept>

#include "checkpointing/memory_meter.h"

namespace reprise {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

StepRecord::StepRecord(size_t capacity) : ring_(capacity) {
  if (capacity == 0) throw std::invalid_argument("StepRecord: expected a capacity of at least 1");
}

void StepRecord::begin_step(int64_t step) {
  next_ = used_ = 0;
  for (double& sum : sums_) sum = 0;
  step_ = step;
  word_.store(static_cast<uint64_t>(step_) << 24, std::memory_order_relaxed);
}

void StepRecord::begin(EventKind kind, int stage, int micro_batch) {
  const uint64_t phase = static_cast<uint64_t>(kind) + 1;
  word_.store(static_cast<uint64_t>(step_) << 24 | phase << 16 | static_cast<uint16_t>(stage),
              std::memory_order_relaxed);
  ring_[next_] = {kind, static_cast<int16_t>(stage), static_cast<int16_t>(micro_batch), now_seconds(), 0, 0};
}

void StepRecord::end() {
  StageEvent& event = ring_[next_];
  event.end_seconds = now_seconds();
  event.live_bytes = MemoryMeter::current_bytes();
  sums_[static_cast<size_t>(event.kind)] += event.end_seconds - event.start_seconds;
  next_ = (next_ + 1) % ring_.size();
  used_ = std::min(used_ + 1, ring_.size());
  word_.store(static_cast<uint64_t>(step_) << 24, std::memory_order_relaxed);
}

std::vector<StageEvent> StepRecord::events() const {
  std::vector<StageEvent> events;
  events.reserve(used_);
  for (size_t i = 0; i < used_; ++i) events.push_back(ring_[(next_ + ring_.size() - used_ + i) % ring_.size()]);
  return events;
}

double StepRecord::seconds(EventKind kind) const { return sums_[static_cast<size_t>(kind)]; }

}  // namespace reprise
