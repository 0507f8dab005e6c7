#include "training/token_data.h"

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <exception>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "training/dataset_info.h"
#include "training/errors.h"

namespace reprise {

TokenShards::TokenShards(const std::string& directory, const std::string& split)
    : name_((std::filesystem::path(directory) / (split + "_*.bin")).string()) {
  const DatasetInfo info = read_dataset_info(directory);
  for (const std::string& path : shard_paths(directory, split)) shards_.push_back(std::make_unique<ShardFile>(path));
  if (shards_.empty()) throw DataError(name_ + ": no such file");
  const int64_t promised = split == "train" ? info.train_tokens : split == "validation" ? info.validation_tokens : 0;
  if (promised != 0 && promised != tokens()) {
    throw DataError(name_ + ": " + std::to_string(tokens()) + " tokens in " + std::to_string(shards_.size()) +
                    " shards, but dataset.json promises " + std::to_string(promised));
  }
}

int64_t TokenShards::tokens() const {
  int64_t sum = 0;
  for (const auto& shard : shards_) sum += std::ssize(shard->tokens());
  return sum;
}

int64_t TokenShards::windows(int64_t length) const {
  int64_t sum = 0;
  for (const auto& shard : shards_) sum += (std::ssize(shard->tokens()) - 1) / (length - 1);
  return sum;
}

int64_t TokenShards::some_windows(int64_t length) const {
  const int64_t count = windows(length);
  if (count > 0) return count;
  int64_t longest = 0;
  for (const auto& shard : shards_) longest = std::max(longest, std::ssize(shard->tokens()));
  throw DataError(name_ + ": a sequence needs " + std::to_string(length) + " tokens in one shard, the longest has " +
                  std::to_string(longest));
}

void TokenShards::read_window(int64_t index, int64_t length, int64_t vocabulary, int64_t* out) const {
  for (const auto& shard : shards_) {
    const int64_t here = (std::ssize(shard->tokens()) - 1) / (length - 1);
    if (index >= here) {
      index -= here;
      continue;
    }
    const int64_t begin = index * (length - 1);
    const auto window = shard->tokens().subspan(static_cast<size_t>(begin), static_cast<size_t>(length));
    std::copy(window.begin(), window.end(), out);
    const auto beyond = std::find_if(window.begin(), window.end(), [&](uint16_t token) { return token >= vocabulary; });
    if (beyond == window.end()) return;
    throw DataError(shard->path() + ": token " + std::to_string(begin + (beyond - window.begin())) + " is " +
                    std::to_string(*beyond) + ", but the vocabulary ends at " + std::to_string(vocabulary - 1));
  }
  throw std::out_of_range("TokenShards: no window " + std::to_string(index));
}

namespace {

// The finalizer of splitmix64: a bijection that spreads every bit over all others.
uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

int64_t shuffled_window(uint64_t seed, int64_t windows, int64_t sample) {
  const uint64_t count = static_cast<uint64_t>(windows);
  const uint64_t epoch = static_cast<uint64_t>(sample) / count;
  uint64_t index = static_cast<uint64_t>(sample) % count;
  const uint64_t key = mixed(mixed(seed) ^ epoch);

  // A Feistel network permutes the numbers below the next power of two; following the cycle until it comes back below
  // `count` makes of it a permutation of those (fewer than two turns on average).
  const int bits = std::bit_width(count - 1);
  const int low_bits = bits / 2;
  const uint64_t low_mask = (uint64_t{1} << low_bits) - 1;
  const uint64_t high_mask = (uint64_t{1} << (bits - low_bits)) - 1;
  do {
    uint64_t low = index & low_mask, high = index >> low_bits;
    for (uint64_t round = 0; round < 4; ++round) {
      high ^= mixed(mixed(key + 2 * round) ^ low) & high_mask;
      low ^= mixed(mixed(key + 2 * round + 1) ^ high) & low_mask;
    }
    index = high << low_bits | low;
  } while (index >= count);
  return static_cast<int64_t>(index);
}

class BatchSource::Reader {
 public:
  Reader(const TokenShards& shards, const BatchPlan& plan)
      : shards_(shards),
        plan_(plan),
        micro_batches_(plan.global_sequences / plan.ranks / plan.micro_sequences),
        windows_(shards.some_windows(plan.context + 1)),
        window_(static_cast<size_t>(plan.context + 1)) {
    request(0);
    thread_ = std::thread([this] { fill_on_request(); });
  }

  ~Reader() {
    {
      const std::lock_guard lock(mutex_);
      state_ = State::stopping;
    }
    changed_.notify_all();
    thread_.join();
  }

  void seek(int64_t step) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return state_ == State::filled; });
    request(step * micro_batches_);
  }

  Batch next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return state_ == State::filled; });
    if (failure_) std::rethrow_exception(failure_);
    Batch batch = std::move(batch_);
    request(position_ + 1);
    return batch;
  }

 private:
  enum class State { requested, filled, stopping };

  // Makes the tensors of micro-batch `position`, counted from the first of step 0, and wakes the thread. The thread
  // must be idle; the lock, once there is a thread, held.
  void request(int64_t position) {
    position_ = position;
    const int64_t step = position / micro_batches_, micro = position % micro_batches_;
    const int64_t first_of_rank = plan_.global_sequences / plan_.ranks * plan_.rank;
    batch_.tokens = torch::empty({plan_.micro_sequences, plan_.context}, torch::kInt64);   // (B, T)
    batch_.targets = torch::empty({plan_.micro_sequences, plan_.context}, torch::kInt64);  // (B, T)
    batch_.step = step;
    batch_.first_sequence = step * plan_.global_sequences + first_of_rank + micro * plan_.micro_sequences;
    state_ = State::requested;
    changed_.notify_all();
  }

  void fill_on_request() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return state_ != State::filled; });
      if (state_ == State::stopping) return;
      lock.unlock();
      std::exception_ptr failure;
      try {
        fill();
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      failure_ = failure;
      if (state_ == State::requested) state_ = State::filled;
      changed_.notify_all();
    }
  }

  void fill() {
    int64_t* tokens = batch_.tokens.mutable_data_ptr<int64_t>();
    int64_t* targets = batch_.targets.mutable_data_ptr<int64_t>();
    for (int64_t b = 0; b < plan_.micro_sequences; ++b) {
      const int64_t index = shuffled_window(plan_.seed, windows_, batch_.first_sequence + b);
      shards_.read_window(index, plan_.context + 1, plan_.vocabulary, window_.data());
      std::copy(window_.begin(), window_.end() - 1, tokens + b * plan_.context);
      std::copy(window_.begin() + 1, window_.end(), targets + b * plan_.context);
    }
  }

  const TokenShards& shards_;
  const BatchPlan plan_;
  const int64_t micro_batches_, windows_;
  std::mutex mutex_;  // guards all below; while `requested`, batch_ and window_ are the thread's without it
  std::condition_variable changed_;
  State state_ = State::requested;
  int64_t position_ = 0;
  Batch batch_;
  std::vector<int64_t> window_;
  std::exception_ptr failure_;
  std::thread thread_;
};

BatchSource::BatchSource(const TokenShards& shards, const BatchPlan& plan) {
  const int64_t share = plan.global_sequences / plan.ranks;
  if (share < 1 || share * plan.ranks != plan.global_sequences || share % plan.micro_sequences != 0) {
    throw std::invalid_argument("BatchSource: " + std::to_string(plan.global_sequences) +
                                " sequences do not divide into " + std::to_string(plan.ranks) +
                                " ranks and micro-batches of " + std::to_string(plan.micro_sequences));
  }
  reader_ = std::make_unique<Reader>(shards, plan);
}

BatchSource::~BatchSource() = default;

void BatchSource::seek(int64_t step) { reader_->seek(step); }

Batch BatchSource::next() { return reader_->next(); }

}  // namespace reprise
