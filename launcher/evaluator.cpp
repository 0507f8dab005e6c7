#include "launcher/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "training/errors.h"

namespace reprise {

void require_tokens_below(const ShardFile& shard, int64_t vocabulary) {
  const auto tokens = shard.tokens();
  const auto is_bad = [vocabulary](uint16_t token) { return token >= vocabulary; };
  const auto bad = std::find_if(tokens.begin(), tokens.end(), is_bad);
  if (bad == tokens.end()) return;
  throw DataError(fmt::format("{}: expected tokens below the vocabulary {}, got {} at token {}", shard.path(),
                              vocabulary, *bad, bad - tokens.begin()));
}

double EvaluationTotals::bits_per_byte() const {
  return loss / std::log(2.0) / static_cast<double>(std::max<int64_t>(1, bytes));
}

Evaluator::Evaluator(SavedRun& run, int64_t context)
    : vocabulary_(run.config.model.vocabulary),
      context_(context),
      tokenizer_(make_tokenizer(run.tokenizer)),
      executor_(*run.model, plan_of(PolicySetting{}, shapes_of(*run.model)), run.config.run.seed) {}

void Evaluator::add(const ShardFile& shard) {
  require_tokens_below(shard, vocabulary_);
  const auto tokens = shard.tokens();
  const auto targets = static_cast<int64_t>(tokens.size()) - 1;
  const int64_t full = targets / context_, rest = targets % context_;
  constexpr int64_t kTokensAtOnce = 8192;
  const int64_t at_once = std::max<int64_t>(1, kTokensAtOnce / context_);
  const auto from_window = [&](int64_t window) { return tokens.subspan(static_cast<size_t>(window * context_)); };
  for (int64_t window = 0; window < full; window += at_once) {
    add_windows(from_window(window), std::min(at_once, full - window), context_);
  }
  if (rest > 0) add_windows(from_window(full), 1, rest);
  const std::vector<int64_t> text(tokens.begin() + 1, tokens.end());
  totals_.bytes += static_cast<int64_t>(tokenizer_->decode(text).size());
}

void Evaluator::add_windows(std::span<const uint16_t> tokens, int64_t count, int64_t length) {
  Batch batch;
  batch.tokens = torch::empty({count, length}, torch::kInt64);   // (B, T)
  batch.targets = torch::empty({count, length}, torch::kInt64);  // (B, T)
  const int64_t all = count * length;
  std::copy_n(tokens.begin(), all, batch.tokens.data_ptr<int64_t>());
  std::copy_n(tokens.begin() + 1, all, batch.targets.data_ptr<int64_t>());
  totals_.loss += executor_.evaluate(batch).item<double>();
  totals_.tokens += all;
}

}  // namespace reprise
