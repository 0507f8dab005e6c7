#include "distributed/wire_thread.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace reprise {
namespace {

using std::chrono::microseconds;

constexpr microseconds kPolling{50}, kShortestNap{50}, kLongestNap{1000};
constexpr microseconds kIdleNap{10000};  // an idle thread still progresses what completed sends may hold back

double seconds(std::chrono::steady_clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

std::string one_decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

// How long to sleep when nothing moves. A fast link and a short message are polled for. On a slow link the thread naps
// for as long as its last wait, and longer the longer it waits: few wake-ups, and socket buffers bridge the nap.
class Pacer {
 public:
  using Clock = std::chrono::steady_clock;

  void restart() { last_move_ = Clock::now(), last_wait_ = {}, is_waiting_ = false; }
  void move() {
    const auto now = Clock::now();
    if (is_waiting_) last_wait_ = now - last_move_;
    last_move_ = now;
    is_waiting_ = false;
  }
  Clock::duration nap(bool is_idle) {
    const auto wait = Clock::now() - last_move_;
    is_waiting_ = true;
    if (!is_idle && wait < kPolling && last_wait_ < kPolling) return {};
    return std::clamp<Clock::duration>(std::max(last_wait_, wait / 16), kShortestNap, is_idle ? kIdleNap : kLongestNap);
  }

 private:
  Clock::time_point last_move_ = Clock::now();
  Clock::duration last_wait_ = {};
  bool is_waiting_ = false;
};

}  // namespace

WireThread::WireThread(Transport& transport)
    : transport_(transport),
      awaited_peer_((transport.rank() + transport.size() - 1) % transport.size()),
      thread_([this] { run(); }) {}

WireThread::~WireThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  handed_over_.notify_one();
  thread_.join();
}

void WireThread::start(std::shared_ptr<WireJob> job) {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) throw_lost(*job);
  const double now = seconds(Clock::now());
  job->interval.enqueued_seconds = now;
  if (job->operation.is_complete()) {  // nothing to move: a group of one, or an empty tensor
    job->interval = {now, now, now};
    job->is_done = true;
    return;
  }
  queued_.push_back(std::move(job));
  handed_over_.notify_one();
}

void WireThread::wait(const WireJob& job) {
  std::unique_lock lock(mutex_);
  const auto limit = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(limit_seconds_));
  const auto over = [&] { return job.is_done || !failure_.empty(); };
  if (!finished_.wait_for(lock, limit, over)) {
    failure_ = "no answer from " + transport_.describe(awaited_peer_);
    stop_ = true;
    handed_over_.notify_one();
    throw PeerLost(transport_.describe(transport_.rank()) + ": " + failure_ + " in " + job.name + " for " +
                   one_decimal(limit_seconds_) + " s during " + during_);
  }
  if (!job.is_done) throw_lost(job);
}

void WireThread::set_wait_limit(double limit, std::string during) {
  limit_seconds_ = std::min(limit, 1e6);  // larger ones would overflow the clock
  during_ = std::move(during);
}

void WireThread::throw_lost(const WireJob& job) const {
  throw PeerLost(transport_.describe(transport_.rank()) + ": " + failure_ + " in " + job.name + " during " + during_);
}

void WireThread::run() {
  std::string failure;
  try {
    carry_out();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  bool is_orderly = active_.empty();
  {
    const std::lock_guard lock(mutex_);
    if (failure_.empty()) failure_ = failure;
    is_orderly = is_orderly && queued_.empty() && failure_.empty();
  }
  if (!is_orderly) transport_.abandon();
  finished_.notify_all();
}

void WireThread::carry_out() {
  Pacer pacer;
  while (true) {
    const bool was_idle = active_.empty();
    if (!take_queued()) return;
    const bool is_idle = active_.empty();
    if (is_idle) transport_.progress();
    if (was_idle && !is_idle) pacer.restart();
    if (advance_active()) {
      pacer.move();
    } else {
      rest(pacer.nap(is_idle));
    }
  }
}

bool WireThread::take_queued() {
  const std::lock_guard lock(mutex_);
  if (stop_) return false;
  std::move(queued_.begin(), queued_.end(), std::back_inserter(active_));
  queued_.clear();
  return true;
}

bool WireThread::advance_active() {
  bool moved = false;
  for (const auto& job : active_) {
    if (job->interval.started_seconds == 0) job->interval.started_seconds = seconds(Clock::now());
    moved |= job->operation.advance(transport_);
    if (!job->operation.has_posted_all()) break;  // the next ones would overtake it
  }
  while (!active_.empty() && active_.front()->operation.is_complete()) complete_front();
  if (!active_.empty()) awaited_peer_ = active_.front()->operation.awaited_peer(transport_);
  return moved;
}

void WireThread::complete_front() {
  const std::shared_ptr<WireJob> job = std::move(active_.front());
  active_.pop_front();
  { const RingOperation over = std::move(job->operation); }  // lets go of the tensor before anybody learns of the end
  const std::lock_guard lock(mutex_);
  job->interval.finished_seconds = seconds(Clock::now());
  job->is_done = true;
  finished_.notify_all();
}

void WireThread::rest(Clock::duration nap) {
  if (nap == Clock::duration::zero()) return std::this_thread::yield();
  std::unique_lock lock(mutex_);
  handed_over_.wait_for(lock, nap, [&] { return stop_ || !queued_.empty(); });
}

}  // namespace reprise
