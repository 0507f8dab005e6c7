#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "distributed/communicator.h"
#include "distributed/ring.h"
#include "distributed/transport.h"

namespace reprise {

// The CPU communicator: ring algorithms over any transport. Tensors live on the CPU. The one communication thread of a
// rank makes every call of the transport after start-up, carries operations out in queue order (the next one fills the
// wire while the last chunks of its predecessor travel), and sleeps while bytes are under way, so that it takes little
// of the core that computes. The main thread hands over operations and waits, never without a limit. Destroying it
// abandons the transport if operations are left or a wait has failed.
class RingCommunicator : public Communicator {
 public:
  explicit RingCommunicator(std::unique_ptr<Transport> transport);

  // After the first PeerLost every one of these throws PeerLost.
  std::unique_ptr<Pending> start_sum(torch::Tensor flat) override;
  void broadcast(torch::Tensor flat, int root) override;
  void barrier() override;
  void set_wait_limit(double seconds, std::string during) override;

 private:
  using Clock = std::chrono::steady_clock;
  class PendingJob;

  // An operation on its way. The communication thread owns `operation` until it is done.
  struct Job {
    RingOperation operation;
    std::string name;            // as messages call it: "all-reduce of 4.0 MiB"
    WireInterval interval = {};  // valid once done; started stays 0 until the thread turns to the job
    bool is_done = false;        // guarded by mutex_
  };

  // Main thread.
  std::shared_ptr<Job> start(RingOperation operation, std::string name);
  void wait(const Job& job);
  PeerLost lost(const Job& job, const std::string& how_long) const;

  // Communication thread.
  void run(const std::stop_token& stop);
  void carry_out(const std::stop_token& stop);
  bool advance_active();  // true when something moved
  void complete_front();

  const std::unique_ptr<Transport> transport_;
  double limit_seconds_ = 60;                // main thread only
  std::string during_ = "start";             // main thread only
  std::deque<std::shared_ptr<Job>> active_;  // communication thread only, oldest first
  std::atomic<int> awaited_peer_;            // of the oldest active operation

  std::mutex mutex_;  // guards what follows
  std::condition_variable_any handed_over_;
  std::condition_variable finished_;
  std::deque<std::shared_ptr<Job>> queued_;
  std::string failure_;  // why the communicator is dead; empty while it lives

  std::jthread thread_;  // last: it stops before anything goes
};

// A group of one, where every operation is complete at once.
std::unique_ptr<Communicator> make_lone_communicator();

}  // namespace reprise
