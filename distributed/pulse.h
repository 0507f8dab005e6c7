#pragma once

#include <torch/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace reprise {

// A collective call, as ranks compare it: call for call equal on all of them. Packed, for it travels in every
// heartbeat.
struct Call {
  enum Kind : uint64_t { sum = 1, broadcast, barrier };
  uint64_t bytes = 0;
  uint64_t what = 0;  // Kind in 3 bits, dtype in 6; the rest: a sum's first element in its storage, a broadcast's root
  bool operator==(const Call&) const = default;
};
Call call_of(Call::Kind kind, const torch::Tensor& flat, int64_t root = 0);
std::string text_of(const Call& call);  // "an all-reduce of 4194304 bytes of float at element 0"

// Where a main thread stands, as one moment's copy.
struct Standing {
  static constexpr size_t kCalls = 60;
  uint64_t position = 0;       // as Pulse::move_to() was told
  uint64_t events = 0;         // so far; one that does not grow is a thread that does not move
  double limit_seconds = 1e6;  // it may stay where it is for so long
  uint64_t is_waiting = 0;     // for other ranks, or for its device: it is not the one that holds the others up
  uint64_t calls = 0;          // made so far
  std::array<Call, kCalls> last_calls{};  // call n, from 0, in place n modulo kCalls
  const Call* call(uint64_t n) const;     // nullptr when it is not among them; the oldest may be overwritten already
};

// What happened to a main thread, newest last.
struct PulseEvent {
  enum Kind : uint64_t { move, call, wait, go_on };
  Kind kind;
  uint64_t detail;  // position, bytes, or nothing
  double seconds;   // of std::chrono::steady_clock
};

// What a rank's main thread does, in words that its heartbeat reads at any moment: written by that thread, without a
// lock, an allocation or a system call.
class Pulse {
 public:
  static constexpr size_t kEvents = 2000;

  // Main thread.
  void move_to(uint64_t position);  // the caller's code for it
  // About to make a call. Returns a tag below 2^15 for its messages, so that those of different calls match by rare
  // chance only.
  int begin_call(const Call& call);
  void set_limit(double seconds) { limit_seconds_.store(seconds, std::memory_order_relaxed); }
  void begin_wait();
  void end_wait();  // or whoever completes what the main thread waits for, before it lets that go on

  // Any thread.
  Standing standing() const;
  std::vector<PulseEvent> events() const;  // the last ones, at most kEvents

  // Set once somebody judges all ranks together: waits then only end by themselves at kLastResort times their limit.
  static constexpr double kLastResort = 10;
  std::atomic<bool> is_watched = false;

 private:
  struct Slot {
    std::atomic<uint64_t> kind, detail;
    std::atomic<double> seconds;
  };
  void note(PulseEvent::Kind kind, uint64_t detail);

  std::array<Slot, kEvents> slots_{};
  std::atomic<uint64_t> events_ = 0, calls_ = 0, position_ = 0;
  std::array<std::atomic<uint64_t>, 2 * Standing::kCalls> last_calls_{};
  std::atomic<double> limit_seconds_ = 1e6;
  std::atomic<bool> is_waiting_ = false;
};

// A wait for other ranks or for the device, for as long as it lives.
class PulseWait {
 public:
  explicit PulseWait(Pulse& pulse) : pulse_(pulse) { pulse_.begin_wait(); }
  ~PulseWait() { pulse_.end_wait(); }
  PulseWait(const PulseWait&) = delete;

 private:
  Pulse& pulse_;
};

}  // namespace reprise
