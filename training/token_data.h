#pragma once

#include <c10/core/thread_pool.h>

#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "model/stage.h"
#include "training/dataset.h"

namespace reprise {

// Shards of one split (format: training/dataset.h). Throws DataError as ShardFile does, and when the preparation of
// the directory did not end or wrote another number of tokens (dataset.json). Any thread may read.
class TokenShards {
 public:
  // Opens every file of shard_paths().
  TokenShards(const std::string& directory, const std::string& split);

  const std::vector<ShardFile>& shards() const { return shards_; }
  int64_t tokens() const;
  // Windows of `length` ≥ 2 tokens at stride `length - 1` that lie within one shard: how many, at least one, and the
  // tokens of one, as int64 (length). The last target of a window is the first input of the next. Throws DataError that
  // says how many tokens a shard needs when there is no window, and as ShardFile::read() does.
  int64_t windows(int64_t length) const;
  void read_window(int64_t index, int64_t length, int64_t vocabulary, int64_t* out) const;
  // A short text for ranks to compare: the count and a hash of a few windows spread over the split, so that other data
  // of the same size is told apart without reading all of it.
  std::string describe(int64_t length, int64_t vocabulary) const;

 private:
  std::string name_;  // for messages
  std::vector<ShardFile> shards_;
};

// Order of windows over epochs: a pseudo-random permutation per epoch, f(seed, epoch, index), computed by element,
// nothing stored. Global sample n is window permutation(n mod windows) of epoch n div windows.
int64_t shuffled_window(uint64_t seed, int64_t windows, int64_t sample);

// Micro-batches of one rank. Step s, global sequence q (0 … global−1) is sample s·global + q; rank r of n holds the
// contiguous sequences [r·global/n, (r+1)·global/n), in micro-batches of `micro`.
struct BatchPlan {
  int64_t global_sequences = 1, micro_sequences = 1, context = 1, vocabulary = 257;
  int rank = 0, ranks = 1;
  uint64_t seed = 0;
  torch::Device device = torch::kCPU;  // where batches go
};

// The batch there; from pinned memory the copy is enqueued on the current stream and the host goes on.
Batch on_device(const Batch& batch, torch::Device device);

// Hands out the micro-batches of one rank in order, for ever: the samples run on over epochs. Batch.first_sequence is
// the sample number s·global + q of its first sequence. A thread of its own ("reads ahead") fills the next batch
// meanwhile; it only copies tokens into tensors that the caller's thread has made, so tensor bytes do not depend on
// timing: from the first batch on, two batches exist, the one ahead in host memory. The shards must outlive it. One
// calling thread.
class BatchSource {
 public:
  // Throws std::invalid_argument when ranks do not divide the global batch or micro-batches a rank's share, and
  // DataError when there are no windows.
  BatchSource(const TokenShards& shards, const BatchPlan& plan);
  BatchSource(const BatchSource&) = delete;

  int64_t micro_batches() const { return micro_batches_; }  // of a step
  void seek(int64_t step);                                  // the next batch is the first of `step`
  Batch next();  // waits for the thread; throws what went wrong there, again and again until seek()

 private:
  void read_ahead(int64_t position);
  void fill();

  const TokenShards& shards_;
  const BatchPlan plan_;
  const int64_t micro_batches_, windows_;
  int64_t position_ = 0;  // of the micro-batch ahead, counted from the first of step 0
  Batch ahead_;           // the thread's until filled_ is ready
  std::shared_future<void> filled_;
  c10::ThreadPool thread_{1};  // the last member: its end waits for the batch being filled
};

}  // namespace reprise
