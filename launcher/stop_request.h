#pragma once

#include <atomic>
#include <csignal>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "distributed/communicator.h"

namespace reprise {

// Whether this process is to end before its work is done: USR1 or USR2 ask for that, or `max_seconds` run out. TERM
// gives no time to save, for mpirun kills a second later: it ends the process here, with exit code 143 and one line: on
// rank 0, or where there is a better explanation. Made before any other thread: all threads block the three signals
// from then on, for good, and one of its own takes them, so that nothing has to be safe inside a signal handler.
class StopRequest {
 public:
  // The time counts from now on the given clock, in seconds.
  explicit StopRequest(std::function<double()> clock = steady_seconds);
  ~StopRequest();

  // Main thread, at the end of each step. The time is up when the longest time between two calls and
  // `save_seconds` for saving would no longer fit in `max_seconds`; 0: no limit.
  bool is_made(double max_seconds, double save_seconds);

  // TERM says what this returns instead, unless it is ""; asked on the thread that takes the signals. Any thread.
  void explain_term_by(std::function<std::string()> explain);

 private:
  void take_signals(const std::stop_token& end);
  [[noreturn]] void end_by_term();

  const std::function<double()> clock_;
  const double started_seconds_;
  double asked_seconds_ = 0, longest_seconds_ = 0;  // when is_made() was called last; between two calls
  sigset_t signals_;
  std::atomic<bool> is_signalled_ = false;
  std::mutex mutex_;  // guards what follows
  std::function<std::string()> explain_;
  std::jthread thread_;  // the last member: it uses the others
};

}  // namespace reprise
