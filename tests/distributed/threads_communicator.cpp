#include "tests/distributed/threads_communicator.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "distributed/ring_communicator.h"

namespace reprise {
namespace {

struct LocalTransfer;

// One direction between two ranks. Of each tag send i meets receive i: whichever is posted second copies.
struct Lane {
  std::mutex mutex;                            // guards what follows, and what the transfers of the lane hold
  std::deque<LocalTransfer*> sends, receives;  // that have not met
  bool is_closed = false;                      // one of the two ranks is gone: its transfers point nowhere
};

struct Group {
  explicit Group(int count) : size(count), lanes(static_cast<size_t>(count) * count) {}
  Lane& lane(int from, int to) { return lanes[static_cast<size_t>(from) * size + to]; }

  const int size;
  std::vector<Lane> lanes;
  std::vector<std::string> names;
  std::atomic<int> first_left{-1};  // later ones may only have followed
};

struct LocalTransfer : Transfer {
  LocalTransfer(const Group& all, Lane& between, void* buffer, size_t length, int label)
      : group(all), lane(between), data(buffer), bytes(length), tag(label) {}

  bool is_complete() override {
    const std::lock_guard lock(lane.mutex);
    if (!has_met && lane.is_closed) throw PeerLost(group.names.at(group.first_left) + " left the group");
    return has_met;
  }

  const Group& group;
  Lane& lane;
  void* const data;
  const size_t bytes;
  const int tag;
  bool has_met = false;
};

class LocalTransport : public Transport {
 public:
  LocalTransport(std::shared_ptr<Group> group, int rank) : group_(std::move(group)) {
    place_ = {rank, group_->size, rank, group_->size, group_->names};
  }
  ~LocalTransport() override { abandon(); }

  std::unique_ptr<Transfer> send(int peer, const void* data, size_t bytes, int tag) override {
    Lane& lane = group_->lane(place_.rank, peer);
    return post(lane, lane.sends, const_cast<void*>(data), bytes,
                tag);  // of the two that meet only the receive is written
  }

  std::unique_ptr<Transfer> receive(int peer, void* data, size_t bytes, int tag) override {
    Lane& lane = group_->lane(peer, place_.rank);
    return post(lane, lane.receives, data, bytes, tag);
  }

  void abandon() noexcept override {
    int none = -1;
    group_->first_left.compare_exchange_strong(none, place_.rank);
    for (int peer = 0; peer < group_->size; ++peer) {
      for (Lane* lane : {&group_->lane(place_.rank, peer), &group_->lane(peer, place_.rank)}) {
        const std::lock_guard lock(lane->mutex);
        lane->is_closed = true;
      }
    }
  }

 private:
  std::unique_ptr<Transfer> post(Lane& lane, std::deque<LocalTransfer*>& queue, void* data, size_t bytes, int tag) {
    auto transfer = std::make_unique<LocalTransfer>(*group_, lane, data, bytes, tag);
    const std::lock_guard lock(lane.mutex);
    if (lane.is_closed) return transfer;  // the other side's are gone
    auto& opposite = &queue == &lane.sends ? lane.receives : lane.sends;
    const auto met = std::find_if(opposite.begin(), opposite.end(), [=](const auto* each) { return each->tag == tag; });
    if (met == opposite.end()) {
      queue.push_back(transfer.get());
      return transfer;
    }
    const bool is_send = &queue == &lane.sends;
    LocalTransfer &from = is_send ? *transfer : **met, &to = is_send ? **met : *transfer;
    std::memcpy(to.data, from.data, std::min(from.bytes, to.bytes));
    from.has_met = to.has_met = true;
    opposite.erase(met);
    return transfer;
  }

  std::shared_ptr<Group> group_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_threads_communicators(int size) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  auto group = std::make_shared<Group>(size);
  for (int rank = 0; rank < size; ++rank) group->names.push_back(fmt::format("rank {} on {}", rank, host));
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (int rank = 0; rank < size; ++rank) {
    communicators.push_back(make_ring_communicator(std::make_unique<LocalTransport>(group, rank)));
  }
  return communicators;
}

void run_as_threads(int size, const std::function<void(Communicator&)>& body) {
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto run_rank = [&](std::unique_ptr<Communicator> communicator) {
    at::init_num_threads();  // else MKL ignores the process's thread count in a new thread
    try {
      body(*communicator);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
    }
    communicator.reset();  // the others learn that this rank is gone only after its error is recorded
  };
  std::vector<std::thread> threads;
  for (auto& communicator : make_threads_communicators(size)) threads.emplace_back(run_rank, std::move(communicator));
  for (std::thread& thread : threads) thread.join();
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace reprise
