#pragma once

#include <cstdint>

#include "distributed/communicator.h"
#include "launcher/saved_run.h"
#include "training/token_data.h"

namespace reprise {

// Sums over the targets of a split.
struct EvaluationTotals {
  double loss = 0;     // nats
  int64_t tokens = 0;  // targets
  int64_t bytes = 0;   // of text that the targets stand for; 0 when the model has no tokenizer

  double bits_per_byte() const;  // NaN without bytes
};

// Collective: loss over a split, in windows of `context` targets one after the other; the last window of a shard is as
// short as it has to be. Every token but a shard's first is a target once. The ranks share batches of windows; each
// batch's sums are added in the order of the text, so the totals are bitwise the same for any number of ranks, given
// equal threads and processors. All ranks throw SharedFailure when one fails: at a token the model does not know, say.
EvaluationTotals evaluate(const SavedRun& run, const TokenShards& split, int64_t context, Communicator& ranks);

}  // namespace reprise
