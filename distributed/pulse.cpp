#include "distributed/pulse.h"

#include <fmt/format.h>

#include <algorithm>

#include "distributed/communicator.h"

namespace reprise {
namespace {

constexpr uint64_t kKindBits = 3, kTypeBits = 6;
constexpr int kTags = 1 << 15;  // what every MPI library offers at least

}  // namespace

Call call_of(Call::Kind kind, const torch::Tensor& flat, int64_t root) {
  const auto type = static_cast<uint64_t>(flat.scalar_type());
  const auto place = static_cast<uint64_t>(kind == Call::sum ? flat.storage_offset() : root);
  return {flat.nbytes(), (place << kTypeBits | type) << kKindBits | kind};
}

std::string text_of(const Call& call) {
  const auto kind = static_cast<Call::Kind>(call.what & ((1 << kKindBits) - 1));
  if (kind == Call::barrier) return "a barrier";
  const auto type = static_cast<torch::ScalarType>(call.what >> kKindBits & ((1 << kTypeBits) - 1));
  return fmt::format("{} of {} bytes of {} {} {}", kind == Call::sum ? "an all-reduce" : "a broadcast", call.bytes,
                     c10::toString(type), kind == Call::sum ? "at element" : "from rank",
                     call.what >> (kKindBits + kTypeBits));
}

const Call* Standing::call(uint64_t n) const {
  return n < calls && n + kCalls > calls ? &last_calls[n % kCalls] : nullptr;
}

void Pulse::note(PulseEvent::Kind kind, uint64_t detail) {
  const uint64_t n = events_.load(std::memory_order_relaxed);
  Slot& slot = slots_[n % kEvents];
  slot.kind.store(kind, std::memory_order_relaxed);
  slot.detail.store(detail, std::memory_order_relaxed);
  slot.seconds.store(steady_seconds(), std::memory_order_relaxed);
  events_.store(n + 1, std::memory_order_release);
}

void Pulse::move_to(uint64_t position) {
  position_.store(position, std::memory_order_relaxed);
  note(PulseEvent::move, position);
}

int Pulse::begin_call(const Call& call) {
  const uint64_t n = calls_.load(std::memory_order_relaxed);
  // Whoever reads these finds the calls before this one counted.
  last_calls_[2 * (n % Standing::kCalls)].store(call.bytes, std::memory_order_release);
  last_calls_[2 * (n % Standing::kCalls) + 1].store(call.what, std::memory_order_release);
  calls_.store(n + 1, std::memory_order_release);
  note(PulseEvent::call, call.bytes);
  uint64_t mixed = (call.bytes ^ call.what * 0x9e3779b97f4a7c15) + n;  // a Fibonacci hash: its upper bits are mixed
  mixed *= 0x9e3779b97f4a7c15;
  return static_cast<int>(mixed >> 49) % kTags;
}

void Pulse::begin_wait() {
  is_waiting_.store(true, std::memory_order_relaxed);
  note(PulseEvent::wait, 0);
}

void Pulse::end_wait() {
  if (is_waiting_.exchange(false, std::memory_order_relaxed)) note(PulseEvent::go_on, 0);
}

Standing Pulse::standing() const {
  Standing now;
  now.events = events_.load(std::memory_order_acquire);
  now.position = position_.load(std::memory_order_relaxed);
  now.limit_seconds = limit_seconds_.load(std::memory_order_relaxed);
  now.is_waiting = is_waiting_.load(std::memory_order_relaxed);
  const uint64_t before = calls_.load(std::memory_order_acquire);
  for (size_t i = 0; i < now.last_calls.size(); ++i) {
    now.last_calls[i] = {last_calls_[2 * i].load(std::memory_order_acquire),
                         last_calls_[2 * i + 1].load(std::memory_order_acquire)};
  }
  // A call made meanwhile may have torn one that was read: such a copy shows none.
  const bool is_torn = calls_.load(std::memory_order_relaxed) != before;
  now.calls = is_torn ? 0 : before;
  return now;
}

std::vector<PulseEvent> Pulse::events() const {
  std::vector<PulseEvent> events;
  const uint64_t end = events_.load(std::memory_order_acquire);
  for (uint64_t n = end - std::min<uint64_t>(end, kEvents); n < end; ++n) {
    const Slot& slot = slots_[n % kEvents];
    events.push_back({static_cast<PulseEvent::Kind>(slot.kind.load(std::memory_order_relaxed)),
                      slot.detail.load(std::memory_order_relaxed), slot.seconds.load(std::memory_order_relaxed)});
  }
  return events;
}

}  // namespace reprise
