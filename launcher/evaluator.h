#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "checkpointing/segment_executor.h"
#include "launcher/saved_run.h"
#include "training/shard_file.h"
#include "training/tokenizer.h"

namespace reprise {

// Throws DataError that names file and place unless every token is below the vocabulary.
void require_tokens_below(const ShardFile& shard, int64_t vocabulary);

// Sums over the targets of a split.
struct EvaluationTotals {
  double loss = 0;     // nats
  int64_t tokens = 0;  // targets
  int64_t bytes = 0;   // of text that the targets stand for

  double bits_per_byte() const;
};

// Loss of a trained model over shards, in windows of `context` targets one after the other; the last window of a shard
// is as short as it has to be. Every token but a shard's first is a target once.
class Evaluator {
 public:
  Evaluator(SavedRun& run, int64_t context);
  void add(const ShardFile& shard);  // throws DataError at a token the model does not know
  const EvaluationTotals& totals() const { return totals_; }

 private:
  void add_windows(std::span<const uint16_t> tokens, int64_t count, int64_t length);

  const int64_t vocabulary_, context_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  SegmentExecutor executor_;
  EvaluationTotals totals_;
};

}  // namespace reprise
