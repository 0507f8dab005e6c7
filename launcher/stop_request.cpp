#include "launcher/stop_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "launcher/exit_codes.h"
#include "launcher/job.h"

namespace reprise {

StopRequest::StopRequest(std::function<double()> clock) : clock_(std::move(clock)), started_seconds_(clock_()) {
  sigemptyset(&signals_);
  for (const int number : {SIGUSR1, SIGUSR2, SIGTERM}) sigaddset(&signals_, number);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::jthread([this](const std::stop_token& end) { take_signals(end); });
}

StopRequest::~StopRequest() {
  thread_.request_stop();
  pthread_kill(thread_.native_handle(), SIGUSR1);
}

bool StopRequest::is_made(double max_seconds, double save_seconds) {
  const double now = clock_();
  if (asked_seconds_ > 0) longest_seconds_ = std::max(longest_seconds_, now - asked_seconds_);
  asked_seconds_ = now;
  const bool is_time_up = max_seconds > 0 && now - started_seconds_ + longest_seconds_ + save_seconds > max_seconds;
  return is_time_up || is_signalled_;
}

void StopRequest::take_signals(const std::stop_token& end) {
  for (int number = 0; sigwait(&signals_, &number) == 0 && !end.stop_requested();) {
    if (number == SIGTERM) end_by_term();
    is_signalled_ = true;
  }
}

void StopRequest::explain_term_by(std::function<std::string()> explain) {
  const std::lock_guard lock(mutex_);
  explain_ = std::move(explain);
}

void StopRequest::end_by_term() {
  const std::lock_guard lock(mutex_);
  std::string line = explain_ ? explain_() : "";
  // mpirun sends it to all ranks, whichever was asked or died: one line is enough.
  if (line.empty() && job_from_environment().rank == 0) {
    line =
        "TERM: ends at once and saves nothing; the next start goes on from the newest snapshot, where there is one. "
        "(mpirun sends it too, when another rank has died.)";
  }
  if (!line.empty()) fmt::print(stderr, "reprise: {}\n", line);
  std::_Exit(kTerminated);
}

}  // namespace reprise
