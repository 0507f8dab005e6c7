#include "distributed/nccl_communicator.h"

#include <c10/core/AllocatorConfig.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <utility>

#include "distributed/sum_kernel.h"

namespace reprise {
namespace {

constexpr std::chrono::milliseconds kLook{5};
constexpr std::chrono::microseconds kSettle{20};
constexpr auto kTimed = c10::EventFlag::BACKEND_DEFAULT;  // an event that keeps the time

const std::map<torch::ScalarType, ncclDataType_t> kSummed{{torch::kFloat32, ncclFloat32},
                                                          {torch::kFloat64, ncclFloat64},
                                                          {torch::kBFloat16, ncclBfloat16},
                                                          {torch::kInt64, ncclInt64}};

struct Operation {
  std::string name;
  torch::Tensor flat;  // its memory stays until the device is done with it
  c10::Event begin, end;
  double enqueued_seconds;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(Communicator& host, torch::Device device, Patience patience, double limit_seconds)
      : Communicator(host.place(), host.shared_pulse()),
        host_(host),
        device_(device),
        guard_(device.type()),
        wire_(guard_.getStreamFromGlobalPool(device, /*isHighPriority=*/true)),
        patience_(std::move(patience)),
        limit_seconds_(limit_seconds) {
    std::unique_lock lock(mutex_);
    ncclUniqueId id{};
    if (rank() == 0) settle(lock, "id", ncclGetUniqueId(&id));
    host_.broadcast(torch::from_blob(&id, {sizeof id}, torch::kUInt8), 0);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    settle(lock, "start", ncclCommInitRankConfig(&comm_, size(), id, rank(), &config));
    watch_ = std::jthread([this](const std::stop_token& stop) {
      guard_.setDevice(device_);  // else a call of CUDA makes a context on device 0
      double free_seconds = steady_seconds();
      while (!stop.stop_requested() && look(free_seconds)) std::this_thread::sleep_for(kLook);
    });
  }

  ~NcclCommunicator() override {
    watch_ = {};
    std::unique_lock lock(mutex_);
    const bool is_unwinding = std::uncaught_exceptions() > exceptions_at_start_;  // the others may never get here
    if (is_unwinding && failure_.empty()) fail("end", "is left out");
    if (!failure_.empty()) return;
    try {
      settle(lock, "end", ncclCommFinalize(comm_));
      ncclCommDestroy(comm_);
    } catch (const PeerLost&) {  // aborted: the process is to end, and whoever ends it has the reason already
    }
  }

  std::unique_ptr<Pending> start_sum(torch::Tensor flat) override {
    if (flat.device().is_cpu()) return host_.start_sum(flat);
    sum_kernel_of(flat.scalar_type());  // refuses what no backend sums
    pulse().begin_call(call_of(Call::sum, flat));
    return launch("all-reduce of " + readable_bytes(flat), flat, [&](cudaStream_t stream) {
      return ncclAllReduce(flat.data_ptr(), flat.data_ptr(), flat.numel(), kSummed.at(flat.scalar_type()), ncclSum,
                           comm_, stream);
    });
  }

  void broadcast(torch::Tensor flat, int root) override {
    if (flat.device().is_cpu()) return host_.broadcast(flat, root);
    if (root < 0 || root >= size()) throw std::invalid_argument("broadcast from rank " + std::to_string(root));
    const std::string name = "broadcast of " + readable_bytes(flat) + " from " + describe(root);
    const auto call = [&](cudaStream_t stream) {
      return ncclBroadcast(flat.data_ptr(), flat.data_ptr(), flat.nbytes(), ncclUint8, root, comm_, stream);
    };
    pulse().begin_call(call_of(Call::broadcast, flat, root));
    launch(name, flat, call)->wait();
  }

  void barrier() override {
    lock_alive();
    host_.barrier();
  }

  void expect_sums_in(const torch::Tensor& flat) override {
    guard_.synchronizeStream(wire_);  // what is under way may use the last one
    const auto lock = lock_alive();
    if (handle_ != nullptr) ncclCommDeregister(comm_, std::exchange(handle_, nullptr));
    registered_ = flat;
    // NCCL 2.28 maps only the first physical piece of a segment that grows (its issue 1820).
    const bool is_in_pieces = c10::CachingAllocator::AcceleratorAllocatorConfig::use_expandable_segments();
    if (flat.device() != device_ || is_in_pieces) return;
    ncclCommRegister(comm_, flat.data_ptr(), flat.nbytes(), &handle_);  // a refusal is no error and leaves no handle
  }

  void set_wait_limit(double seconds, std::string during) override {
    host_.set_wait_limit(seconds, during);
    const std::lock_guard lock(mutex_);
    limit_seconds_ = seconds;
    during_ = std::move(during);
  }

  void abort(const std::string& reason) noexcept override {
    host_.abort(reason);
    std::unique_lock lock(mutex_, std::defer_lock);  // held by a call that hangs: the process's end ends it
    for (int attempt = 0; attempt < 50 && !lock.try_lock(); ++attempt) std::this_thread::sleep_for(kLook);
    if (lock && failure_.empty()) fail("work", "is given up: " + reason);
  }

 private:
  std::unique_lock<std::mutex> lock_alive() {
    std::unique_lock lock(mutex_);
    if (!failure_.empty()) throw PeerLost(failure_);
    return lock;
  }

  template <typename Call>
  std::unique_ptr<Pending> launch(std::string name, const torch::Tensor& flat, const Call& call) {
    require_flat(flat, device_);
    auto lock = lock_alive();
    const auto operation = std::make_shared<Operation>(
        Operation{std::move(name), flat, {device_.type(), kTimed}, {device_.type(), kTimed}, steady_seconds()});
    c10::Event ready(device_.type());
    ready.record(guard_.getStream(device_));
    ready.block(wire_);
    operation->begin.record(wire_);
    // Before NCCL has done its part, what it launches may not be on the stream yet.
    settle(lock, operation->name, call(static_cast<cudaStream_t>(wire_.native_handle())));
    operation->end.record(wire_);
    under_way_.push_back(operation);
    const auto wait = [=, this] {
      const auto alive = lock_alive();
      operation->end.block(guard_.getStream(device_));
    };
    return std::make_unique<Pending>(Pending{wait, [=, this] { return interval_of(*operation); }});
  }

  // The device's clock is read against the host's each time, for the two drift apart.
  WireInterval interval_of(const Operation& operation) {
    c10::Event now(device_.type(), kTimed);
    now.record(wire_);
    now.synchronize();
    const double seconds = steady_seconds();
    const auto alive = lock_alive();  // an abort ends operations, too
    return {operation.enqueued_seconds, seconds - operation.begin.elapsedTime(now) / 1e3,
            seconds - operation.end.elapsedTime(now) / 1e3};
  }

  // What follows is called with mutex_ held.

  ncclResult_t state() const {  // of NCCL's part of the last call, and of the network
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
    return asked == ncclSuccess ? state : asked;
  }

  // Until NCCL has done its part of a call, which is not the device's. Throws PeerLost.
  void settle(std::unique_lock<std::mutex>& lock, const std::string& name, ncclResult_t result) {
    const double begin = steady_seconds();
    while (result == ncclInProgress && (result = state()) == ncclInProgress) {
      if (steady_seconds() - begin > limit()) break;
      lock.unlock();
      std::this_thread::sleep_for(kSettle);
      lock = lock_alive();
    }
    if (result == ncclSuccess) return;
    fail(name, result == ncclInProgress ? overdue() : explain(result));
    throw PeerLost(failure_);
  }

  double limit() const { return limit_seconds_ * (pulse().is_watched ? Pulse::kLastResort : 1); }
  std::string overdue() const { return fmt::format("has not ended within {:.1f} s", limit()); }
  std::string explain(ncclResult_t result) const {
    return fmt::format("failed: {}; {}", ncclGetErrorString(result), ncclGetLastError(comm_));
  }

  void fail(const std::string& name, const std::string& reason) {
    failure_ = fmt::format("{}: NCCL's {} {} during {}", describe(rank()), name, reason, during_);
    const std::jthread bounded = watch(patience_, failure_ + "; its abort");
    ncclCommAbort(std::exchange(comm_, nullptr));
  }

  // The watching thread: once at what is under way; `free_seconds` is when it last found mutex_ free. False when there
  // is nothing left to watch.
  bool look(double& free_seconds) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock) free_seconds = steady_seconds();
    const bool is_stuck = steady_seconds() - free_seconds > patience_.seconds;
    if (is_stuck) patience_.give_up(describe(rank()) + ": a call of NCCL does not return");
    if (!lock) return !is_stuck;
    if (!failure_.empty()) return false;
    std::string trouble;
    try {
      for (; !under_way_.empty() && under_way_.front()->end.query(); under_way_.pop_front()) {
        last_end_seconds_ = steady_seconds();
      }
    } catch (const c10::Error& error) {
      trouble = std::string("met an error of the device: ") + error.what_without_backtrace();
    }
    if (under_way_.empty()) return true;
    const Operation& oldest = *under_way_.front();
    const ncclResult_t now = state();
    if (trouble.empty() && now != ncclSuccess && now != ncclInProgress) trouble = explain(now);
    if (trouble.empty() && steady_seconds() - std::max(last_end_seconds_, oldest.enqueued_seconds) > limit())
      trouble = overdue();
    if (!trouble.empty()) fail(oldest.name, trouble);
    return trouble.empty();
  }

  Communicator& host_;
  const torch::Device device_;
  const c10::impl::VirtualGuardImpl guard_;
  const c10::Stream wire_;
  const Patience patience_;
  const int exceptions_at_start_ = std::uncaught_exceptions();
  torch::Tensor registered_;  // its memory must outlive NCCL's hold on it
  void* handle_ = nullptr;    // that hold, which the communicator's end lets go of

  std::mutex mutex_;  // held during calls of NCCL; guards what follows
  ncclComm_t comm_ = nullptr;
  double limit_seconds_;
  std::string during_ = "start";
  std::string failure_;                                     // why the communicator is dead; empty while it lives
  std::deque<std::shared_ptr<const Operation>> under_way_;  // oldest first
  double last_end_seconds_ = 0;                             // when the watching thread last saw one end
  std::jthread watch_;                                      // last: it stops before anything goes
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, torch::Device device, Patience patience,
                                                     double limit_seconds) {
  return std::make_unique<NcclCommunicator>(host, device, std::move(patience), limit_seconds);
}

}  // namespace reprise
