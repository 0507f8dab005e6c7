#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <vector>

namespace reprise {

double now_seconds();  // of std::chrono::steady_clock

enum class EventKind : uint8_t { forward, recompute, backward };

// One stage's work in one micro-batch. Times are seconds of std::chrono::steady_clock.
struct StageEvent {
  EventKind kind;
  int16_t stage;
  int16_t micro_batch;
  double start_seconds;
  double end_seconds;
  uint64_t live_bytes;  // tensors of the process at its end
};

// What the executor did in the current step: events, the oldest dropped first, and one atomic word that another thread
// may read at any time. Written by the executor's thread only; the events are read by that same thread.
class StepRecord {
 public:
  explicit StepRecord(size_t capacity = 4096);
  void begin_step(int64_t step);                           // forgets the events of the step before
  void begin(EventKind kind, int stage, int micro_batch);  // the word now says where the thread is
  void end();
  std::vector<StageEvent> events() const;  // oldest first
  double seconds(EventKind kind) const;    // sum over the current step, dropped events included

  // {step, phase, stage}: step in the upper 40 bits, phase (EventKind + 1, 0 outside) in 8, stage in 16.
  uint64_t word() const { return word_.load(std::memory_order_relaxed); }

 private:
  const size_t capacity_;
  std::deque<StageEvent> events_;
  StageEvent open_{};  // between begin() and end()
  double sums_[3] = {0, 0, 0};
  int64_t step_ = 0;
  std::atomic<uint64_t> word_{0};
};

}  // namespace reprise
