#include "distributed/mpi_communicator.h"

#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "distributed/local_transport.h"
#include "distributed/ring_communicator.h"

namespace reprise {
namespace {

constexpr std::chrono::seconds kAbortPatience{5};
constexpr int kTag = 0;  // one tag: messages of a pair match in the order posted

// Bounds a call that has no limit of its own: gives up unless it is destroyed in time.
class Watch {
 public:
  Watch(const MpiPatience& patience, std::string call)
      : thread_([this, patience, call = std::move(call)] {
          std::unique_lock lock(mutex_);
          const std::chrono::duration<double> limit(std::min(patience.seconds, 1e6));
          if (over_.wait_for(lock, limit, [this] { return is_over_; })) return;
          char text[256];
          std::snprintf(text, sizeof text, "%s has not ended within %.1f s: a rank is missing", call.c_str(),
                        patience.seconds);
          patience.give_up(text);
        }) {}
  ~Watch() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    over_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::thread thread_;
};

// MPI_ERRORS_RETURN makes calls report instead of ending the process.
[[noreturn]] void throw_failed(int code, const std::string& call) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw PeerLost(call + " failed: " + text);
}

void require_success(int code, const std::string& call) {
  if (code != MPI_SUCCESS) throw_failed(code, call);
}

class MpiTransfer : public Transfer {
 public:
  MpiTransfer(const Transport& transport, int peer) : transport_(transport), peer_(peer) {}

  MPI_Request* request() { return &request_; }

  bool is_complete() override {
    if (request_ == MPI_REQUEST_NULL) return true;
    int done = 0;
    MPI_Status status;
    const int code = MPI_Test(&request_, &done, &status);
    if (code != MPI_SUCCESS) throw_failed(code, "MPI_Test of a message with " + transport_.describe(peer_));
    if (done) check(status);
    return done;
  }

 protected:
  virtual void check(const MPI_Status&) const {}

  const Transport& transport_;
  const int peer_;

 private:
  MPI_Request request_ = MPI_REQUEST_NULL;
};

class MpiReceive : public MpiTransfer {
 public:
  MpiReceive(const Transport& transport, int peer, int bytes) : MpiTransfer(transport, peer), bytes_(bytes) {}

 protected:
  void check(const MPI_Status& status) const override {
    int arrived = 0;
    MPI_Get_count(&status, MPI_BYTE, &arrived);
    if (arrived == bytes_) return;
    throw PeerLost(transport_.describe(peer_) + " sent " + std::to_string(arrived) + " bytes where " +
                   std::to_string(bytes_) + " were expected: the ranks make different calls");
  }

 private:
  const int bytes_;
};

class MpiTransport : public Transport {
 public:
  // Collective, on the thread that later destroys it.
  explicit MpiTransport(MpiPatience patience) : patience_(std::move(patience)) {
    const Watch watch(patience_, "the start of MPI");
    int provided = MPI_THREAD_SINGLE;
    require_success(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    // One thread at a time makes the calls, except for MPI_Abort, which the main thread may need at any moment.
    if (provided < MPI_THREAD_MULTIPLE) throw std::runtime_error("this MPI library lacks MPI_THREAD_MULTIPLE");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    std::vector<char> name(MPI_MAX_PROCESSOR_NAME);
    int length = 0;
    MPI_Get_processor_name(name.data(), &length);
    const std::string self = "rank " + std::to_string(rank_) + " on " + name.data() + ": ";

    require_success(MPI_Comm_dup(MPI_COMM_WORLD, &world_), self + "MPI_Comm_dup");
    MPI_Comm host_group = MPI_COMM_NULL;
    require_success(MPI_Comm_split_type(world_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host_group),
                    self + "MPI_Comm_split_type");
    MPI_Comm_rank(host_group, &local_rank_);
    MPI_Comm_size(host_group, &local_size_);
    MPI_Comm_free(&host_group);

    std::vector<char> names(size_ * name.size());
    require_success(MPI_Allgather(name.data(), MPI_MAX_PROCESSOR_NAME, MPI_CHAR, names.data(), MPI_MAX_PROCESSOR_NAME,
                                  MPI_CHAR, world_),
                    self + "MPI_Allgather of host names");
    for (int peer = 0; peer < size_; ++peer) hosts_.emplace_back(names.data() + peer * name.size());
  }

  ~MpiTransport() override {
    const bool is_unwinding = std::uncaught_exceptions() > exceptions_at_start_;  // the others may never get here
    if (is_abandoned_ || is_unwinding) return;
    const Watch watch(patience_, "the end of MPI on " + describe(rank_));
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return local_rank_; }
  int local_size() const override { return local_size_; }
  const std::string& host(int rank) const override { return hosts_.at(rank); }

  std::unique_ptr<Transfer> send(int peer, const void* data, size_t bytes) override {
    auto transfer = std::make_unique<MpiTransfer>(*this, peer);
    const int code = MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, peer, kTag, world_, transfer->request());
    if (code != MPI_SUCCESS) throw_failed(code, "MPI_Isend to " + describe(peer));
    return transfer;
  }

  std::unique_ptr<Transfer> receive(int peer, void* data, size_t bytes) override {
    auto transfer = std::make_unique<MpiReceive>(*this, peer, static_cast<int>(bytes));
    const int code = MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, peer, kTag, world_, transfer->request());
    if (code != MPI_SUCCESS) throw_failed(code, "MPI_Irecv from " + describe(peer));
    return transfer;
  }

  void progress() override {
    int arrived = 0;
    require_success(MPI_Iprobe(MPI_ANY_SOURCE, kTag, world_, &arrived, MPI_STATUS_IGNORE), "MPI_Iprobe");
  }

  void abandon() noexcept override { is_abandoned_ = true; }

 private:
  const MpiPatience patience_;
  MPI_Comm world_ = MPI_COMM_NULL;  // a duplicate, so that nobody else's messages match ours
  int rank_ = 0, size_ = 1, local_rank_ = 0, local_size_ = 1;
  std::vector<std::string> hosts_;
  const int exceptions_at_start_ = std::uncaught_exceptions();
  std::atomic<bool> is_abandoned_{false};
};

bool is_started_by_mpi() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const MpiPatience& patience) {
  // A process started by hand needs no MPI: initialising it alone would start a daemon and take a second.
  if (!is_started_by_mpi()) return std::make_unique<RingCommunicator>(std::move(make_local_transports(1).front()));
  int is_initialized = 0;
  MPI_Initialized(&is_initialized);
  if (is_initialized) throw std::logic_error("make_mpi_communicator: once per process");
  return std::make_unique<RingCommunicator>(std::make_unique<MpiTransport>(patience));
}

void abort_mpi_job(int exit_code) {
  std::fflush(nullptr);
  int is_initialized = 0, is_finalized = 0;
  MPI_Initialized(&is_initialized);
  MPI_Finalized(&is_finalized);
  if (is_initialized && !is_finalized) {
    std::thread([exit_code] {
      std::this_thread::sleep_for(kAbortPatience);
      std::_Exit(exit_code);
    }).detach();
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }
  std::_Exit(exit_code);
}

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text);
  return version.substr(0, version.find(','));  // Open MPI appends where and when it was built
}

}  // namespace reprise
