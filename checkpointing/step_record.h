#pragma once

#include <c10/core/Event.h>
#include <torch/types.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

namespace reprise {

double now_seconds();  // of std::chrono::steady_clock

// A point in the work of a device's current stream; on the CPU simply now. Marking it waits for nothing.
class Moment {
 public:
  explicit Moment(torch::Device device = torch::kCPU);
  // On the clock of now_seconds(). `origin`: a moment of the same stream, made while the device was idle. The host
  // waits until the device has got here.
  double seconds(const Moment& origin) const;

 private:
  double host_seconds_;
  std::optional<c10::Event> reached_;  // on a device
};

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

// What the executor did in the current step: events, and one atomic word that another thread may read at any time.
// Written by the executor's thread only; the events are read by that same thread, between events. A device times its
// own work: recording never waits for it, the first reading does.
class StepRecord {
 public:
  void begin_step(int64_t step, torch::Device device = torch::kCPU);  // forgets the step before; the device is idle
  void begin(EventKind kind, int stage, int micro_batch);             // the word now says where the thread is
  void end();
  const std::vector<StageEvent>& events() const;  // oldest first
  double seconds(EventKind kind) const;           // sum over the current step

  // {step, phase, stage}: step in the upper 40 bits, phase (EventKind + 1, 0 outside) in 8, stage in 16.
  uint64_t word() const { return word_.load(std::memory_order_relaxed); }

 private:
  torch::Device device_ = torch::kCPU;
  int64_t step_ = 0;
  std::vector<Moment> moments_;             // of the step's begin, then of every event's begin and end
  mutable std::vector<StageEvent> events_;  // without times until they are read
  mutable size_t timed_ = 0;                // so many of them have been
  std::atomic<uint64_t> word_{0};
};

}  // namespace reprise
