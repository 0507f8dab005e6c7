#pragma once

#include <torch/types.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "distributed/sum_kernel.h"
#include "distributed/transport.h"

namespace reprise {

// A piece of a flat buffer on its way to the right neighbour (rank + 1) or from the left one (rank - 1).
struct Hop {
  size_t begin = 0, end = 0;  // elements, never empty
  size_t after = 0;           // a send leaves after this many receives, a receive is posted after this many sends
  bool adds = false;          // receives only: the bytes are added to what is there, else they replace it
};

// What one rank sends and receives, each in order. Both neighbours' lists match hop for hop.
struct RingSchedule {
  std::vector<Hop> sends, receives;
};

constexpr size_t kStripeBytes = 32 << 10;  // of more than two ranks

// Sum over all ranks: the flat buffer is cut into stripes, dealt to the ranks in turn; a rank's stripes travel once
// around the ring and are added up (reduce-scatter), then once more as the result (all-gather). 2 (size-1) / size of
// the bytes cross each link, the least possible, but for a last round of stripes that does not reach every rank. A
// stripe of owner p is summed in the order of ranks p, p+1, ..., p-1, and owners follow from the elements' places in
// the whole buffer, of which this one begins at `first`: however it is cut into calls, each element is summed in the
// same order.
RingSchedule sum_schedule(int rank, int size, size_t count, size_t element_bytes, size_t first = 0);

// From root to the right, chunk by chunk.
RingSchedule broadcast_schedule(int rank, int size, int root, size_t count, size_t element_bytes);

// A schedule being carried out on a contiguous CPU tensor, which it keeps alive. One thread calls advance() until
// is_complete().
class RingOperation {
 public:
  // A kernel for receives that add; a tag that tells this operation's messages from another's.
  RingOperation(torch::Tensor flat, RingSchedule schedule, SumKernel add_into, int tag = 0);

  // Posts and finishes whatever can be now, without blocking; true when anything moved. Throws PeerLost.
  bool advance(Transport& transport);
  bool has_posted_all() const;  // from here on a successor may post its hops without overtaking
  bool is_complete() const { return sends_.is_complete() && receives_.is_complete(); }
  int awaited_peer(const Place& place) const;  // whose answer an incomplete operation lacks

 private:
  // The hops of one direction: posted and finished in order.
  struct Stream {
    std::vector<Hop> hops;
    std::deque<std::unique_ptr<Transfer>> in_flight;  // oldest first
    size_t posted = 0, done = 0;

    bool may_post(const Stream& opposite) const;
    void post(std::unique_ptr<Transfer> transfer);
    bool may_finish() const { return !in_flight.empty() && in_flight.front()->is_complete(); }
    void finish();
    bool is_complete() const { return done == hops.size(); }
  };
  std::byte* at(size_t element) const { return data_ + element * element_bytes_; }
  std::byte* landing(size_t receive) const;  // where the bytes of a receive arrive
  size_t bytes(const Hop& hop) const { return (hop.end - hop.begin) * element_bytes_; }

  torch::Tensor flat_;
  std::byte* data_;
  size_t element_bytes_;
  SumKernel add_into_;
  int tag_;
  size_t slot_bytes_ = 0;
  std::unique_ptr<std::byte[]> scratch_;  // landing places of receives that add
  Stream sends_, receives_;
};

}  // namespace reprise
