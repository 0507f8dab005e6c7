#pragma once

#include <c10/core/Event.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
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
inline constexpr const char* kEventNames[] = {"forward", "recompute", "backward"};  // of EventKind

// One stage's work in one micro-batch. Times are seconds of std::chrono::steady_clock.
struct StageEvent {
  EventKind kind;
  int16_t stage;
  int16_t micro_batch;
  double start_seconds;
  double end_seconds;
  uint64_t live_bytes;  // tensors of the process at its end
};

// What the executor did in the current step. Written and read by the executor's thread only, read between events. A
// device times its own work: recording never waits for it, the first reading does.
class StepRecord {
 public:
  void begin_step(int64_t step, torch::Device device = torch::kCPU);  // forgets the step before; the device is idle
  void begin(EventKind kind, int stage, int micro_batch);
  void end();
  const std::vector<StageEvent>& events() const;  // oldest first
  double seconds(EventKind kind) const;           // sum over the current step

  // Told of every move, in a word: step in the upper 40 bits, phase (EventKind + 1, 0 outside) in 8, stage in 16.
  void tell_moves_to(std::function<void(uint64_t word)> told) { told_ = std::move(told); }

 private:
  void move_to(uint64_t phase, int stage) const;

  torch::Device device_ = torch::kCPU;
  int64_t step_ = 0;
  std::vector<Moment> moments_;             // of the step's begin, then of every event's begin and end
  mutable std::vector<StageEvent> events_;  // without times until they are read
  mutable size_t timed_ = 0;                // so many of them have been
  std::function<void(uint64_t)> told_;
};

}  // namespace reprise
