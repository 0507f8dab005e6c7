#include "distributed/ring_communicator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>

#include "distributed/ring.h"

namespace reprise {
namespace {

using std::chrono::microseconds;

constexpr microseconds kPolling{50}, kShortestNap{50}, kLongestNap{1000};
constexpr microseconds kIdleNap{10000};  // an idle thread still progresses what completed sends may hold back

// How long to sleep when nothing moves. A fast link and a short message are polled for. On a slow link the thread naps
// for as long as its last wait, and longer the longer it waits: few wake-ups, and socket buffers bridge the nap.
class Pacer {
 public:
  using Clock = std::chrono::steady_clock;

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

class RingCommunicator : public Communicator {
 public:
  // Without a transport a group of one, in which nothing is left to do for a thread.
  RingCommunicator(const Place& place, std::unique_ptr<Transport> transport)
      : Communicator(place), transport_(std::move(transport)), awaited_peer_((rank() + size() - 1) % size()) {
    if (transport_) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

  // After the first PeerLost every one of these throws PeerLost.

  std::unique_ptr<Pending> start_sum(torch::Tensor flat) override {
    require_flat(flat, torch::kCPU);
    const SumKernel add_into = sum_kernel_of(flat.scalar_type());
    RingSchedule schedule = sum_schedule(rank(), size(), flat.numel(), flat.element_size(), flat.storage_offset());
    const int tag = pulse().begin_call(call_of(Call::sum, flat));
    const auto job = start({flat, std::move(schedule), add_into, tag}, "all-reduce of " + readable_bytes(flat));
    return std::make_unique<Pending>(Pending{[=, this] { wait(*job); }, [=] { return job->interval; }});
  }

  void broadcast(torch::Tensor flat, int root) override {
    require_flat(flat, torch::kCPU);
    if (root < 0 || root >= size()) throw std::invalid_argument("broadcast from rank " + std::to_string(root));
    RingSchedule schedule = broadcast_schedule(rank(), size(), root, flat.numel(), flat.element_size());
    const int tag = pulse().begin_call(call_of(Call::broadcast, flat, root));
    wait(*start({flat, std::move(schedule), nullptr, tag},
                "broadcast of " + readable_bytes(flat) + " from " + describe(root)));
  }

  void barrier() override {
    // A sum of one word: nobody holds the result before everybody has added its share.
    const torch::Tensor word = torch::zeros({1}, torch::kInt64);
    RingSchedule schedule = sum_schedule(rank(), size(), 1, word.element_size());
    const int tag = pulse().begin_call(call_of(Call::barrier, word));
    wait(*start({word, std::move(schedule), sum_kernel_of(torch::kInt64), tag}, "barrier"));
  }

  void set_wait_limit(double seconds, std::string during) override {
    limit_seconds_ = std::min(seconds, 1e6);  // larger ones would overflow the clock
    during_ = std::move(during);
    pulse().set_limit(limit_seconds_);
  }

  void abort(const std::string& reason) noexcept override {
    const std::lock_guard lock(mutex_);
    if (failure_.empty()) failure_ = reason;
    thread_.request_stop();
    finished_.notify_all();
  }

 private:
  using Clock = std::chrono::steady_clock;

  // An operation on its way. The communication thread owns `operation` until it is done.
  struct Job {
    RingOperation operation;
    std::string name;            // as messages call it: "all-reduce of 4.0 MiB"
    WireInterval interval = {};  // valid once done; started stays 0 until the thread turns to the job
    bool is_done = false;        // guarded by mutex_
  };

  // Main thread.

  std::shared_ptr<Job> start(RingOperation operation, std::string name) {
    auto job = std::make_shared<Job>(Job{std::move(operation), std::move(name)});
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) throw lost(*job, "");
    const double now = job->interval.enqueued_seconds = steady_seconds();
    if (job->operation.is_complete()) {  // nothing to move: a group of one, or an empty tensor
      job->interval = {now, now, now};
      job->is_done = true;
    } else {
      queued_.push_back(job);
      handed_over_.notify_one();
    }
    return job;
  }

  void wait(const Job& job) {
    const PulseWait waiting(pulse());
    std::unique_lock lock(mutex_);
    awaited_ = &job;
    const double seconds = limit_seconds_ * (pulse().is_watched ? Pulse::kLastResort : 1);
    const auto limit = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    if (!finished_.wait_for(lock, limit, [&] { return job.is_done || !failure_.empty(); })) {
      failure_ = "no answer from " + describe(awaited_peer_);
      thread_.request_stop();
      throw lost(job, fmt::format(" for {:.1f} s", seconds));
    }
    awaited_ = nullptr;
    if (!job.is_done) throw lost(job, "");
  }

  PeerLost lost(const Job& job, const std::string& how_long) const {
    return PeerLost(fmt::format("{}: {} in {}{} during {}", describe(rank()), failure_, job.name, how_long, during_));
  }

  // Communication thread.

  void run(const std::stop_token& stop) {
    std::string failure;
    try {
      carry_out(stop);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    bool is_orderly = active_.empty();
    {
      const std::lock_guard lock(mutex_);
      if (failure_.empty()) failure_ = failure;
      is_orderly = is_orderly && queued_.empty() && failure_.empty();
    }
    if (!is_orderly) transport_->abandon();
    finished_.notify_all();
  }

  void carry_out(const std::stop_token& stop) {
    Pacer pacer;
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      const bool was_idle = active_.empty();
      std::move(queued_.begin(), queued_.end(), std::back_inserter(active_));
      queued_.clear();
      lock.unlock();
      const bool is_idle = active_.empty();
      if (is_idle) transport_->progress();
      if (was_idle && !is_idle) pacer = {};
      Clock::duration nap = {};
      if (advance_active()) {
        pacer.move();
      } else if (nap = pacer.nap(is_idle); nap == nap.zero()) {
        std::this_thread::yield();
      }
      lock.lock();
      if (nap != nap.zero()) handed_over_.wait_for(lock, stop, nap, [&] { return !queued_.empty(); });
    }
  }

  // True when something moved.
  bool advance_active() {
    bool moved = false;
    for (const auto& job : active_) {
      if (job->interval.started_seconds == 0) job->interval.started_seconds = steady_seconds();
      moved |= job->operation.advance(*transport_);
      if (!job->operation.has_posted_all()) break;  // the next ones would overtake it
    }
    while (!active_.empty() && active_.front()->operation.is_complete()) complete_front();
    if (!active_.empty()) awaited_peer_ = active_.front()->operation.awaited_peer(transport_->place());
    return moved;
  }

  void complete_front() {
    const std::shared_ptr<Job> job = std::move(active_.front());
    active_.pop_front();
    { const RingOperation over = std::move(job->operation); }  // lets go of the tensor before anybody learns of the end
    const std::lock_guard lock(mutex_);
    job->interval.finished_seconds = steady_seconds();
    job->is_done = true;
    if (awaited_ == job.get()) pulse().end_wait();  // a main thread that hangs from here on does so by itself
    finished_.notify_all();
  }

  const std::unique_ptr<Transport> transport_;
  double limit_seconds_ = 60;                // main thread only
  std::string during_ = "start";             // main thread only
  std::deque<std::shared_ptr<Job>> active_;  // communication thread only, oldest first
  std::atomic<int> awaited_peer_;            // of the oldest active operation

  std::mutex mutex_;  // guards what follows
  std::condition_variable_any handed_over_;
  std::condition_variable finished_;
  std::deque<std::shared_ptr<Job>> queued_;
  const Job* awaited_ = nullptr;  // by the main thread
  std::string failure_;           // why the communicator is dead; empty while it lives

  std::jthread thread_;  // last: it stops before anything goes
};

}  // namespace

std::unique_ptr<Communicator> make_ring_communicator(std::unique_ptr<Transport> transport) {
  const Place place = transport->place();
  return std::make_unique<RingCommunicator>(place, std::move(transport));
}

std::unique_ptr<Communicator> make_lone_communicator() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  Place place;
  place.names = {fmt::format("rank 0 on {}", host)};
  return std::make_unique<RingCommunicator>(place, nullptr);
}

}  // namespace reprise
