#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "distributed/communicator.h"
#include "distributed/ring.h"
#include "distributed/transport.h"

namespace reprise {

// An operation on its way through the communication thread. The thread owns `operation` from start() until it is done.
struct WireJob {
  RingOperation operation;
  std::string name;            // as messages call it: "all-reduce of 4.0 MiB"
  WireInterval interval = {};  // valid once done; started stays 0 until the thread turns to the job
  bool is_done = false;        // guarded by the wire thread's mutex
};

// The one communication thread of a rank. It makes every call of the transport after start-up, carries operations out
// in queue order (the next one fills the wire while the last chunks of its predecessor travel), and sleeps while bytes
// are under way, so that it takes little of the core that computes. The main thread hands over operations and waits,
// never without a limit.
class WireThread {
 public:
  explicit WireThread(Transport& transport);
  ~WireThread();  // abandons the transport if operations are left or a wait has failed
  WireThread(const WireThread&) = delete;
  WireThread& operator=(const WireThread&) = delete;

  // The rest: main thread only. After the first PeerLost every call throws PeerLost.
  void start(std::shared_ptr<WireJob> job);
  void wait(const WireJob& job);
  void set_wait_limit(double seconds, std::string during);

 private:
  using Clock = std::chrono::steady_clock;

  void run();
  void carry_out();
  bool take_queued();     // false: asked to stop
  bool advance_active();  // true when something moved
  void complete_front();
  void rest(Clock::duration nap);  // ends early when something is handed over
  [[noreturn]] void throw_lost(const WireJob& job) const;

  Transport& transport_;
  double limit_seconds_ = 60;                    // main thread only
  std::string during_ = "start";                 // main thread only
  std::deque<std::shared_ptr<WireJob>> active_;  // communication thread only, oldest first
  std::atomic<int> awaited_peer_;                // of the oldest active operation

  std::mutex mutex_;  // guards what follows
  std::condition_variable handed_over_, finished_;
  std::deque<std::shared_ptr<WireJob>> queued_;
  bool stop_ = false;
  std::string failure_;  // why the communicator is dead; empty while it lives

  std::thread thread_;
};

}  // namespace reprise
