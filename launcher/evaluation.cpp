#include "launcher/evaluation.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "checkpointing/segment_executor.h"
#include "launcher/job.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

constexpr double kPatienceSeconds = 300;  // for a round, in which a rank has one batch

// `count` windows of `length` targets, one after the other from token `first` of a shard on.
struct WindowBatch {
  const ShardFile* shard;
  int64_t first, count, length;
};

// Of the whole split. Depends on the data and the context only.
std::vector<WindowBatch> batches_of(const TokenShards& split, int64_t context) {
  constexpr int64_t kTokensAtOnce = 4096;
  const int64_t at_once = std::max<int64_t>(1, kTokensAtOnce / context);
  std::vector<WindowBatch> batches;
  for (const ShardFile& shard : split.shards()) {
    const int64_t targets = shard.size() - 1;
    for (int64_t first = 0; first < targets;) {
      const int64_t length = std::min(context, targets - first);
      const int64_t count = std::min(at_once, (targets - first) / length);
      batches.push_back({&shard, first, count, length});
      first += count * length;
    }
  }
  return batches;
}

}  // namespace

double EvaluationTotals::bits_per_byte() const {
  return bytes == 0 ? std::nan("") : loss / std::log(2.0) / static_cast<double>(bytes);
}

EvaluationTotals evaluate(const SavedRun& run, const TokenShards& split, int64_t context, Communicator& ranks) {
  const std::vector<WindowBatch> batches = batches_of(split, context);
  std::optional<Tokenizer> tokenizer;
  if (run.tokenizer != "none") tokenizer.emplace(run.tokenizer);
  SegmentExecutor executor(*run.model, plan_of(PolicySetting{}, shapes_of(*run.model)), run.config.run.seed);
  const torch::Tensor sums = torch::zeros({std::ssize(batches), 2}, torch::kFloat64);  // loss and bytes of each
  ranks.set_wait_limit(kPatienceSeconds, "evaluation");
  for (int64_t round = 0; round < std::ssize(batches); round += ranks.size()) {
    together(ranks, [&] {
      const int64_t own = round + ranks.rank();
      if (own >= std::ssize(batches)) return;  // the last round may not reach every rank
      const auto& [shard, first, count, length] = batches[static_cast<size_t>(own)];
      std::vector<int64_t> tokens(static_cast<size_t>(count * length + 1));
      shard->read(first, std::ssize(tokens), run.config.model.vocabulary, tokens.data());
      Batch batch;
      batch.tokens = torch::empty({count, length}, torch::kInt64);   // (B, T)
      batch.targets = torch::empty({count, length}, torch::kInt64);  // (B, T)
      std::copy(tokens.begin(), tokens.end() - 1, batch.tokens.mutable_data_ptr<int64_t>());
      std::copy(tokens.begin() + 1, tokens.end(), batch.targets.mutable_data_ptr<int64_t>());
      sums[own][0] = executor.evaluate(on_device(batch, run.model->device()));
      if (!tokenizer) return;
      sums[own][1] = static_cast<double>(std::ssize(tokenizer->decode({tokens.begin() + 1, tokens.end()})));
    });
  }
  ranks.start_sum(sums)->wait();  // a row has one rank's figures, and zeros of the others
  EvaluationTotals totals;
  for (int64_t i = 0; i < std::ssize(batches); ++i) {
    const WindowBatch& batch = batches[static_cast<size_t>(i)];
    totals.tokens += batch.count * batch.length;
    totals.loss += sums[i][0].item<double>();
    totals.bytes += static_cast<int64_t>(sums[i][1].item<double>());
  }
  return totals;
}

}  // namespace reprise
