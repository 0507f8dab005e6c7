#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "launcher/config.h"
#include "model/stage_chain.h"
#include "training/flat_model.h"
#include "training/token_data.h"

namespace reprise {

// A trained model read back from a run: its configuration, its weights in one flat tensor, and the model bound to them.
struct SavedRun {
  Config config;
  std::string tokenizer;
  std::unique_ptr<FlatModel> weights;
  std::unique_ptr<StageChain> model;  // ends before its weights
};

// `path`: a run directory (config.yaml and final/model.safetensors) or a folder with model.safetensors whose
// config.yaml lies beside it or one level up. Throws DataError when a part is missing or does not belong to this model;
// ConfigError when config.yaml is wrong.
SavedRun load_run(const std::string& path);

// Sums over the targets of a split.
struct EvaluationTotals {
  double loss = 0;     // nats
  int64_t tokens = 0;  // targets
  int64_t bytes = 0;   // of text that the targets stand for

  double bits_per_byte() const;
};

// Loss over a split, in windows of `context` targets one after the other; the last window of a shard is as short as it
// has to be. Every token but a shard's first is a target once. Throws DataError at a token the model does not know.
EvaluationTotals evaluate(SavedRun& run, const TokenShards& split, int64_t context);

// Draws one token after the other from a model; f(seed, first tokens). Sees the last `context` tokens only.
class Sampler {
 public:
  // `tokens`: at least one, all below the vocabulary. Temperature 0: the likeliest token, the lowest of equal ones.
  Sampler(const StageChain& model, std::vector<int64_t> tokens, double temperature, uint64_t seed);
  int64_t next();

 private:
  int64_t draw(const torch::Tensor& logits);

  const StageChain& model_;
  std::vector<int64_t> window_;  // at most `context` tokens
  double temperature_;
  std::mt19937_64 generator_;
};

}  // namespace reprise
