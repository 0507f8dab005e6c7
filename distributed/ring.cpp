#include "distributed/ring.h"

#include <algorithm>

namespace reprise {
namespace {

constexpr size_t kPartAlignment = 16;  // elements: additions start on whole vectors
// A message beyond Open MPI's 64 KiB eager limit on TCP (header included) shakes hands behind the bytes that already
// queue in the socket, which halves the rate of a link that is busy both ways.
constexpr size_t kLargestChunkBytes = 63 << 10;
constexpr size_t kSmallestChunkBytes = 16 << 10;
constexpr size_t kChunksPerPart = 4;  // enough for one chunk to be added while the next ones travel
constexpr size_t kInFlight = 32;      // chunks posted ahead each way; they bridge a neighbour that is not scheduled

size_t divide_up(size_t value, size_t by) { return (value + by - 1) / by; }

size_t round_up(size_t value, size_t to) { return divide_up(value, to) * to; }

size_t chunk_elements(size_t part, size_t element_bytes) {
  const size_t chunk_bytes = std::clamp(part * element_bytes / kChunksPerPart, kSmallestChunkBytes, kLargestChunkBytes);
  return round_up(chunk_bytes / element_bytes, kPartAlignment);
}

// Elements of a stripe. Two ranks sum in one order whatever the stripe, so it can suit the buffer; more need a fixed
// one.
size_t stripe_elements(int size, size_t count, size_t element_bytes) {
  return size == 2 ? chunk_elements(count / 2, element_bytes) : kStripeBytes / element_bytes;
}

int modulo(int value, int size) { return ((value % size) + size) % size; }

}  // namespace

RingSchedule sum_schedule(int rank, int size, size_t count, size_t element_bytes, size_t first) {
  RingSchedule schedule;
  if (size == 1 || count == 0) return schedule;
  const size_t stripe = stripe_elements(size, count, element_bytes);
  if (size == 2) first = 0;
  const size_t round = stripe * size, first_round = first / round;
  const size_t chunks = divide_up(first + count, round) - first_round;
  const int steps = 2 * (size - 1);
  // Hops up to and including round k of step s; stripes outside the buffer are no hops.
  std::vector<size_t> sent(steps * chunks), received(steps * chunks);
  const auto cut = [&](int owner, size_t k) {
    const size_t begin = (first_round + k) * round + owner * stripe;
    return Hop{std::clamp(begin, first, first + count) - first,
               std::clamp(begin + stripe, first, first + count) - first};
  };
  for (int step = 0; step < steps; ++step) {
    const bool gathers = step >= size - 1;
    for (size_t k = 0; k < chunks; ++k) {
      const size_t here = step * chunks + k;
      Hop out = cut(modulo(rank - step, size), k);
      if (step > 0) out.after = received[here - chunks];
      if (out.begin < out.end) schedule.sends.push_back(out);
      sent[here] = schedule.sends.size();

      Hop in = cut(modulo(rank - step - 1, size), k);
      in.adds = !gathers;
      if (gathers) in.after = sent[here - (size - 1) * chunks];  // the send that read this place must be over
      if (in.begin < in.end) schedule.receives.push_back(in);
      received[here] = schedule.receives.size();
    }
  }
  return schedule;
}

RingSchedule broadcast_schedule(int rank, int size, int root, size_t count, size_t element_bytes) {
  RingSchedule schedule;
  if (size == 1) return schedule;
  const size_t chunk = chunk_elements(count, element_bytes);
  const bool receives = rank != root;
  const bool sends = modulo(rank + 1, size) != root;
  for (size_t begin = 0; begin < count; begin += chunk) {
    const Hop hop{begin, std::min(count, begin + chunk)};
    if (receives) schedule.receives.push_back(hop);
    if (!sends) continue;
    schedule.sends.push_back(hop);
    schedule.sends.back().after = schedule.receives.size();
  }
  return schedule;
}

RingOperation::RingOperation(torch::Tensor flat, RingSchedule schedule, SumKernel add_into, int tag)
    : flat_(std::move(flat)),
      data_(static_cast<std::byte*>(flat_.data_ptr())),
      element_bytes_(flat_.element_size()),
      add_into_(add_into),
      tag_(tag),
      sends_{std::move(schedule.sends)},
      receives_{std::move(schedule.receives)} {
  size_t adding = 0;
  for (const Hop& hop : receives_.hops) {
    if (hop.adds) slot_bytes_ = std::max(slot_bytes_, bytes(hop)), ++adding;
  }
  scratch_ = std::make_unique_for_overwrite<std::byte[]>(slot_bytes_ * std::min(adding, kInFlight));
}

bool RingOperation::advance(Transport& transport) {
  const int rank = transport.place().rank, size = transport.place().size;
  const auto steps_taken = [&] { return sends_.posted + sends_.done + receives_.posted + receives_.done; };
  const size_t before = steps_taken();
  while (receives_.may_post(sends_)) {
    const size_t next = receives_.posted;
    receives_.post(transport.receive(modulo(rank - 1, size), landing(next), bytes(receives_.hops[next]), tag_));
  }
  while (sends_.may_post(receives_)) {
    const Hop& hop = sends_.hops[sends_.posted];
    sends_.post(transport.send(modulo(rank + 1, size), at(hop.begin), bytes(hop), tag_));
  }
  while (receives_.may_finish()) {
    const Hop& hop = receives_.hops[receives_.done];
    if (hop.adds) add_into_(at(hop.begin), landing(receives_.done), hop.end - hop.begin);
    receives_.finish();
  }
  while (sends_.may_finish()) sends_.finish();
  return steps_taken() != before;
}

bool RingOperation::has_posted_all() const {
  return sends_.posted == sends_.hops.size() && receives_.posted == receives_.hops.size();
}

int RingOperation::awaited_peer(const Place& place) const {
  return modulo(place.rank + (receives_.is_complete() ? 1 : -1), place.size);
}

std::byte* RingOperation::landing(size_t receive) const {
  const Hop& hop = receives_.hops[receive];
  return hop.adds ? scratch_.get() + receive % kInFlight * slot_bytes_ : at(hop.begin);
}

bool RingOperation::Stream::may_post(const Stream& opposite) const {
  return posted < hops.size() && in_flight.size() < kInFlight && hops[posted].after <= opposite.done;
}

void RingOperation::Stream::post(std::unique_ptr<Transfer> transfer) {
  in_flight.push_back(std::move(transfer));
  ++posted;
}

void RingOperation::Stream::finish() {
  in_flight.pop_front();
  ++done;
}

}  // namespace reprise
