#include "distributed/local_transport.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>

#include "distributed/communicator.h"

namespace reprise {
namespace {

struct Parcel {
  const void* data;
  size_t bytes;
  bool is_taken = false;
};

// One direction between two ranks. Parcel i meets receive i; taken ones leave from the front.
struct Lane {
  std::mutex mutex;  // guards what follows
  std::deque<Parcel> parcels;
  uint64_t first = 0;      // number of parcels.front()
  uint64_t receives = 0;   // posted so far
  bool is_closed = false;  // one of the two ranks is gone
};

struct Group {
  explicit Group(int count) : size(count), lanes(static_cast<size_t>(count) * count) {}
  Lane& lane(int from, int to) { return lanes[static_cast<size_t>(from) * size + to]; }
  [[noreturn]] void throw_left() const {
    throw PeerLost("rank " + std::to_string(first_left) + " on " + host + " left the group");
  }

  const int size;
  std::vector<Lane> lanes;
  std::string host;
  std::atomic<int> first_left{-1};  // later ones may only have followed
};

class LocalSend : public Transfer {
 public:
  LocalSend(std::shared_ptr<Group> group, Lane& lane, uint64_t number)
      : group_(std::move(group)), lane_(lane), number_(number) {}

  bool is_complete() override {
    const std::lock_guard lock(lane_.mutex);
    if (number_ < lane_.first || lane_.parcels[number_ - lane_.first].is_taken) return true;
    if (lane_.is_closed) group_->throw_left();
    return false;
  }

 private:
  std::shared_ptr<Group> group_;
  Lane& lane_;
  uint64_t number_;
};

class LocalReceive : public Transfer {
 public:
  LocalReceive(std::shared_ptr<Group> group, Lane& lane, uint64_t number, void* data, size_t bytes)
      : group_(std::move(group)), lane_(lane), number_(number), data_(data), bytes_(bytes) {}

  bool is_complete() override {
    if (is_complete_) return true;
    const std::lock_guard lock(lane_.mutex);
    if (lane_.is_closed) group_->throw_left();  // first: a parcel of a rank that is gone points nowhere
    if (number_ >= lane_.first + lane_.parcels.size()) return false;
    Parcel& parcel = lane_.parcels[number_ - lane_.first];
    if (parcel.bytes != bytes_) {
      throw PeerLost("a peer sent " + std::to_string(parcel.bytes) + " bytes where " + std::to_string(bytes_) +
                     " were expected: the ranks make different calls");
    }
    std::memcpy(data_, parcel.data, bytes_);
    parcel.is_taken = true;
    while (!lane_.parcels.empty() && lane_.parcels.front().is_taken) lane_.parcels.pop_front(), ++lane_.first;
    return is_complete_ = true;
  }

 private:
  std::shared_ptr<Group> group_;
  Lane& lane_;
  uint64_t number_;
  void* data_;
  size_t bytes_;
  bool is_complete_ = false;
};

class LocalTransport : public Transport {
 public:
  LocalTransport(std::shared_ptr<Group> group, int rank) : group_(std::move(group)), rank_(rank) {}
  ~LocalTransport() override { abandon(); }

  int rank() const override { return rank_; }
  int size() const override { return group_->size; }
  int local_rank() const override { return rank_; }
  int local_size() const override { return group_->size; }
  const std::string& host(int) const override { return group_->host; }

  std::unique_ptr<Transfer> send(int peer, const void* data, size_t bytes) override {
    Lane& lane = group_->lane(rank_, peer);
    const std::lock_guard lock(lane.mutex);
    lane.parcels.push_back({data, bytes});
    return std::make_unique<LocalSend>(group_, lane, lane.first + lane.parcels.size() - 1);
  }

  std::unique_ptr<Transfer> receive(int peer, void* data, size_t bytes) override {
    Lane& lane = group_->lane(peer, rank_);
    const std::lock_guard lock(lane.mutex);
    return std::make_unique<LocalReceive>(group_, lane, lane.receives++, data, bytes);
  }

  void progress() override {}

  void abandon() noexcept override {
    int none = -1;
    group_->first_left.compare_exchange_strong(none, rank_);
    for (int peer = 0; peer < group_->size; ++peer) {
      for (Lane* lane : {&group_->lane(rank_, peer), &group_->lane(peer, rank_)}) {
        const std::lock_guard lock(lane->mutex);
        lane->is_closed = true;
      }
    }
  }

 private:
  std::shared_ptr<Group> group_;
  int rank_;
};

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

std::vector<std::unique_ptr<Transport>> make_local_transports(int size) {
  auto group = std::make_shared<Group>(size);
  group->host = host_name();
  std::vector<std::unique_ptr<Transport>> transports;
  for (int rank = 0; rank < size; ++rank) transports.push_back(std::make_unique<LocalTransport>(group, rank));
  return transports;
}

}  // namespace reprise
