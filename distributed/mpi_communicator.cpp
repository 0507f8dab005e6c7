#include "distributed/mpi_communicator.h"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "distributed/ring_communicator.h"

namespace reprise {
namespace {

constexpr std::chrono::seconds kAbortPatience{5};

// MPI_ERRORS_RETURN makes calls report instead of ending the process.
void require_success(int code, const char* call, const std::string& rank) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw PeerLost(fmt::format("{} {} failed: {}", call, rank, text));
}

class MpiTransfer : public Transfer {
 public:
  MpiTransfer(const std::string& peer, std::optional<int> awaited_bytes) : peer_(peer), awaited_bytes_(awaited_bytes) {}

  MPI_Request* request() { return &request_; }

  bool is_complete() override {
    if (request_ == MPI_REQUEST_NULL) return true;
    int done = 0;
    MPI_Status status;
    require_success(MPI_Test(&request_, &done, &status), "MPI_Test of a message with", peer_);
    if (done && awaited_bytes_) {
      int arrived = 0;
      MPI_Get_count(&status, MPI_BYTE, &arrived);
      if (arrived != *awaited_bytes_) {
        throw PeerLost(fmt::format("{} sent {} bytes where {} were expected: the ranks make different calls", peer_,
                                   arrived, *awaited_bytes_));
      }
    }
    return done;
  }

 private:
  const std::string& peer_;
  const std::optional<int> awaited_bytes_;  // of a receive
  MPI_Request request_ = MPI_REQUEST_NULL;
};

class MpiTransport : public Transport {
 public:
  // Collective, on the thread that later destroys it.
  explicit MpiTransport(Patience patience) : patience_(std::move(patience)) {
    const std::jthread watched = watch(patience_, "the start of MPI");
    int provided = MPI_THREAD_SINGLE;
    require_success(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread of",
                    "this process");
    // One thread at a time makes the calls, except for MPI_Abort, which the main thread may need at any moment.
    if (provided < MPI_THREAD_MULTIPLE) throw std::runtime_error("this MPI library lacks MPI_THREAD_MULTIPLE");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &place_.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &place_.size);
    std::vector<char> host(MPI_MAX_PROCESSOR_NAME);
    int length = 0;
    MPI_Get_processor_name(host.data(), &length);
    const std::string self = fmt::format("on rank {} on {}", place_.rank, host.data());

    require_success(MPI_Comm_dup(MPI_COMM_WORLD, &world_), "MPI_Comm_dup", self);
    MPI_Comm host_group = MPI_COMM_NULL;
    require_success(MPI_Comm_split_type(world_, MPI_COMM_TYPE_SHARED, place_.rank, MPI_INFO_NULL, &host_group),
                    "MPI_Comm_split_type", self);
    MPI_Comm_rank(host_group, &place_.local_rank);
    MPI_Comm_size(host_group, &place_.local_size);
    MPI_Comm_free(&host_group);

    std::vector<char> hosts(place_.size * host.size());
    require_success(MPI_Allgather(host.data(), MPI_MAX_PROCESSOR_NAME, MPI_CHAR, hosts.data(), MPI_MAX_PROCESSOR_NAME,
                                  MPI_CHAR, world_),
                    "MPI_Allgather of host names", self);
    for (int peer = 0; peer < place_.size; ++peer) {
      place_.names.push_back(fmt::format("rank {} on {}", peer, hosts.data() + peer * host.size()));
    }
  }

  ~MpiTransport() override {
    const bool is_unwinding = std::uncaught_exceptions() > exceptions_at_start_;  // the others may never get here
    if (is_abandoned_ || is_unwinding) return;
    const std::jthread watched = watch(patience_, "the end of MPI on " + name(place_.rank));
    MPI_Finalize();
  }

  std::unique_ptr<Transfer> send(int peer, const void* data, size_t bytes, int tag) override {
    auto transfer = std::make_unique<MpiTransfer>(name(peer), std::nullopt);
    require_success(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, peer, tag, world_, transfer->request()),
                    "MPI_Isend to", name(peer));
    return transfer;
  }

  std::unique_ptr<Transfer> receive(int peer, void* data, size_t bytes, int tag) override {
    const int count = static_cast<int>(bytes);
    auto transfer = std::make_unique<MpiTransfer>(name(peer), count);
    require_success(MPI_Irecv(data, count, MPI_BYTE, peer, tag, world_, transfer->request()), "MPI_Irecv from",
                    name(peer));
    return transfer;
  }

  void progress() override {
    int arrived = 0;
    require_success(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, world_, &arrived, MPI_STATUS_IGNORE), "MPI_Iprobe on",
                    name(place_.rank));
  }

  void abandon() noexcept override { is_abandoned_ = true; }

 private:
  const Patience patience_;
  MPI_Comm world_ = MPI_COMM_NULL;  // a duplicate, so that nobody else's messages match ours
  const int exceptions_at_start_ = std::uncaught_exceptions();
  std::atomic<bool> is_abandoned_{false};
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(const Patience& patience) {
  // A process started by hand needs no MPI: initialising it alone would start a daemon and take a second.
  const bool is_started_by_mpi = std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
  if (!is_started_by_mpi) return make_lone_communicator();
  int is_initialized = 0;
  MPI_Initialized(&is_initialized);
  if (is_initialized) throw std::logic_error("make_mpi_communicator: once per process");
  return make_ring_communicator(std::make_unique<MpiTransport>(patience));
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
