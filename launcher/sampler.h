#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "model/stage_chain.h"

namespace reprise {

// Draws one token after the other from a model; f(seed, first tokens). Sees the last `context` tokens only.
class Sampler {
 public:
  // `tokens`: at least one, all below the vocabulary. Temperature 0 takes the likeliest token, the lowest of equal
  // ones.
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
