#include "training/token_data.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "model/philox.h"
#include "training/errors.h"

namespace reprise {
namespace {

int64_t windows_in(const ShardFile& shard, int64_t length) { return (shard.size() - 1) / (length - 1); }

}  // namespace

TokenShards::TokenShards(const std::string& directory, const std::string& split)
    : name_(fmt::format("{}: {} shards", directory, split)) {
  const DatasetInfo info = read_dataset_info(directory);
  for (const std::string& path : shard_paths(directory, split)) shards_.emplace_back(path);
  if (shards_.empty()) throw DataError(fmt::format("{0}: no {1} shards such as {1}_000000.bin", directory, split));
  const int64_t promised = split == "train" ? info.train_tokens : split == "validation" ? info.validation_tokens : 0;
  if (promised != 0 && promised != tokens()) {
    throw DataError(fmt::format("{}: {} tokens in {} shards, but dataset.json promises {}", name_, tokens(),
                                shards_.size(), promised));
  }
}

int64_t TokenShards::tokens() const {
  int64_t sum = 0;
  for (const ShardFile& shard : shards_) sum += shard.size();
  return sum;
}

int64_t TokenShards::windows(int64_t length) const {
  int64_t sum = 0, longest = 0;
  for (const ShardFile& shard : shards_) {
    sum += windows_in(shard, length);
    longest = std::max(longest, shard.size());
  }
  if (sum > 0) return sum;
  throw DataError(
      fmt::format("{}: a sequence needs {} tokens in one shard, the longest has {}", name_, length, longest));
}

void TokenShards::read_window(int64_t index, int64_t length, int64_t vocabulary, int64_t* out) const {
  for (const ShardFile& shard : shards_) {
    const int64_t here = windows_in(shard, length);
    if (index < here) return shard.read(index * (length - 1), length, vocabulary, out);
    index -= here;
  }
  throw std::out_of_range("TokenShards: no window " + std::to_string(index));
}

std::string TokenShards::describe(int64_t length, int64_t vocabulary) const {
  constexpr int64_t kSamples = 16;
  const int64_t all = windows(length);
  std::vector<int64_t> sample(static_cast<size_t>(kSamples * length));
  for (int64_t i = 0; i < kSamples; ++i)
    read_window(i * all / kSamples, length, vocabulary, sample.data() + i * length);
  return fmt::format("{} tokens, sample {:016x}", tokens(),
                     XXH3_64bits(sample.data(), sample.size() * sizeof(int64_t)));
}

int64_t shuffled_window(uint64_t seed, int64_t windows, int64_t sample) {
  const uint64_t count = static_cast<uint64_t>(windows);
  const uint64_t epoch = static_cast<uint64_t>(sample) / count;
  uint64_t index = static_cast<uint64_t>(sample) % count;
  const uint64_t key = mix64(mix64(seed) ^ epoch);

  // A Feistel network permutes the numbers below the next power of two; following the cycle until it comes back below
  // `count` makes of it a permutation of those (fewer than two turns on average).
  const int bits = std::bit_width(count - 1);
  const int low_bits = bits / 2;
  const uint64_t low_mask = (uint64_t{1} << low_bits) - 1;
  const uint64_t high_mask = (uint64_t{1} << (bits - low_bits)) - 1;
  do {
    uint64_t low = index & low_mask, high = index >> low_bits;
    for (uint64_t round = 0; round < 4; ++round) {
      high ^= mix64(mix64(key + 2 * round) ^ low) & high_mask;
      low ^= mix64(mix64(key + 2 * round + 1) ^ high) & low_mask;
    }
    index = high << low_bits | low;
  } while (index >= count);
  return static_cast<int64_t>(index);
}

Batch on_device(const Batch& batch, torch::Device device) {
  Batch there = batch;
  there.tokens = batch.tokens.to(device, /*non_blocking=*/true);
  there.targets = batch.targets.to(device, /*non_blocking=*/true);
  return there;
}

BatchSource::BatchSource(const TokenShards& shards, const BatchPlan& plan)
    : shards_(shards),
      plan_(plan),
      micro_batches_(plan.global_sequences / plan.ranks / plan.micro_sequences),
      windows_(shards.windows(plan.context + 1)) {
  if (micro_batches_ < 1 || micro_batches_ * plan.ranks * plan.micro_sequences != plan.global_sequences) {
    throw std::invalid_argument(fmt::format("BatchSource: {} sequences are not a multiple of {} ranks × {}",
                                            plan.global_sequences, plan.ranks, plan.micro_sequences));
  }
  read_ahead(0);
}

void BatchSource::seek(int64_t step) {
  filled_.wait();
  read_ahead(step * micro_batches_);
}

Batch BatchSource::next() {
  filled_.get();
  Batch batch = on_device(ahead_, plan_.device);
  read_ahead(position_ + 1);
  return batch;
}

// The batch before must be filled.
void BatchSource::read_ahead(int64_t position) {
  position_ = position;
  const int64_t step = position / micro_batches_, micro = position % micro_batches_;
  const int64_t first_of_rank = plan_.global_sequences / plan_.ranks * plan_.rank;
  const auto options = torch::TensorOptions(torch::kInt64).pinned_memory(!plan_.device.is_cpu());
  ahead_.tokens = torch::empty({plan_.micro_sequences, plan_.context}, options);   // (B, T)
  ahead_.targets = torch::empty({plan_.micro_sequences, plan_.context}, options);  // (B, T)
  ahead_.step = step;
  ahead_.first_sequence = step * plan_.global_sequences + first_of_rank + micro * plan_.micro_sequences;
  const auto work = std::make_shared<std::packaged_task<void()>>([this] { fill(); });
  filled_ = work->get_future().share();
  thread_.run([work] { (*work)(); });
}

void BatchSource::fill() {
  int64_t* tokens = ahead_.tokens.mutable_data_ptr<int64_t>();
  int64_t* targets = ahead_.targets.mutable_data_ptr<int64_t>();
  std::vector<int64_t> window(static_cast<size_t>(plan_.context + 1));
  for (int64_t b = 0; b < plan_.micro_sequences; ++b) {
    const int64_t index = shuffled_window(plan_.seed, windows_, ahead_.first_sequence + b);
    shards_.read_window(index, plan_.context + 1, plan_.vocabulary, window.data());
    std::copy(window.begin(), window.end() - 1, tokens + b * plan_.context);
    std::copy(window.begin() + 1, window.end(), targets + b * plan_.context);
  }
}

}  // namespace reprise
