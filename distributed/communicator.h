#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "distributed/pulse.h"

namespace reprise {

// A rank did not answer within the limit, or its connection broke. The message names call, rank, host and seconds.
// After it the communicator is dead: the only thing left is to end the process.
struct PeerLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// When an operation was queued, began to move bytes and was complete; seconds of std::chrono::steady_clock.
struct WireInterval {
  double enqueued_seconds = 0, started_seconds = 0, finished_seconds = 0;
};

// An operation under way. Dropping it without wait() is allowed only after an exception.
struct Pending {
  std::function<void()> wait;  // the current stream (on CPU: the caller) waits; throws PeerLost past the wait limit
  std::function<WireInterval()> interval;  // valid after wait()
};

// Where a rank stands in its group: local among the ranks of its host; names are what messages call each rank, "rank 3
// on node7".
struct Place {
  int rank = 0, size = 1, local_rank = 0, local_size = 1;
  std::vector<std::string> names;
};

// A group of ranks. Every rank makes the same calls in the same order, from one thread.
// Tensors are contiguous; fp32, fp64, bf16, int64 or uint8 (uint8 not for sums); on the CPU or on the device that the
// backend was made for.
class Communicator {
 public:
  explicit Communicator(Place place, std::shared_ptr<Pulse> pulse = std::make_shared<Pulse>())
      : place_(std::move(place)), pulse_(std::move(pulse)) {}
  virtual ~Communicator() = default;
  const Place& place() const { return place_; }
  int rank() const { return place_.rank; }
  int size() const { return place_.size; }
  int local_rank() const { return place_.local_rank; }
  int local_size() const { return place_.local_size; }
  const std::string& describe(int rank) const { return place_.names.at(rank); }
  Pulse& pulse() const { return *pulse_; }  // where the main thread stands; one for all communicators of a process
  const std::shared_ptr<Pulse>& shared_pulse() const { return pulse_; }

  // Sums flat in place over all ranks, after everything already enqueued on the current stream. Returns at once; flat
  // must stay untouched until wait(). The order of summation depends on size() and the element's place in flat's
  // storage only, not on how that is cut into calls.
  virtual std::unique_ptr<Pending> start_sum(torch::Tensor flat) = 0;
  virtual void broadcast(torch::Tensor flat, int root) = 0;
  virtual void barrier() = 0;

  // The one large buffer that later sums are ranges of: registered with the device's library where that helps.
  virtual void expect_sums_in(const torch::Tensor& /*flat*/) {}

  // Limit of every wait from now on; `during` is what messages call the phase ("step 12", "start").
  virtual void set_wait_limit(double seconds, std::string during) = 0;

  // From any thread: every wait under way and every later call ends with PeerLost for this reason, soon.
  virtual void abort(const std::string& reason) noexcept = 0;

 private:
  const Place place_;
  const std::shared_ptr<Pulse> pulse_;
};

// What backends share.
double steady_seconds();                                               // the clock of WireInterval
std::string readable_bytes(const torch::Tensor& tensor);               // as messages call it: "4.0 MiB"
void require_flat(const torch::Tensor& tensor, torch::Device device);  // std::invalid_argument unless contiguous, there

// How long a call that has no limit of its own may take. Past it a thread that lives as long as the call does calls
// give_up with what was waited for; it must end the process.
struct Patience {
  double seconds = 300;
  std::function<void(const std::string& message)> give_up;
};
std::jthread watch(const Patience& patience, std::string call);  // which must not outlive `patience`

}  // namespace reprise
