#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <random>
#include <string_view>
#include <vector>

#include "model/stage_chain.h"

namespace reprise {

// How a token is drawn. The three cuts follow each other in this order and mean what they do in Hugging Face's
// generate(); of the tokens at least one stays.
struct SamplingSetting {
  double temperature = 0.8;  // divides the logits; 0: the likeliest token, the lowest of equal ones, and no cut matters
  int64_t top_k = 0;         // only the k likeliest tokens and those as likely as the last of them; 0: all
  double top_p = 1;          // of these, the likeliest ones whose probabilities first sum to p or more; 1: all
  uint64_t seed = 1;
};

// Probabilities of the next token, (V) fp64 on the CPU, from logits (V); cut-off tokens have 0. The temperature is
// above 0.
torch::Tensor token_probabilities(const torch::Tensor& logits, const SamplingSetting& setting);

// Draws one token after the other from a model: f(model, first tokens, setting, threads). The model sees the last
// `context` of the first tokens; once its context is full, it sees the last half of that and what follows, until it is
// full again. So each token costs one position's work, and now and then a context's half. The model must outlive it.
class Sampler {
 public:
  // `tokens`: at least one, all below the vocabulary. Only a token that `may_follow` is drawn, of which there is one;
  // empty: any token.
  Sampler(const StageChain& model, std::vector<int64_t> tokens, const SamplingSetting& setting,
          const std::function<bool(int64_t)>& may_follow = {});
  // Throws DataError when the model's predictions are not finite.
  int64_t next();

 private:
  int64_t draw(const torch::Tensor& logits);

  const StageChain& model_;
  const SamplingSetting setting_;
  torch::Tensor never_;  // (V) bool: the tokens that may not follow
  KeyValueCache cache_;
  std::vector<int64_t> window_;  // what the model sees next: 1 … context tokens, and one more until it is cut
  std::mt19937_64 generator_;
};

// How many bytes at the end of a text begin a UTF-8 character and do not end it: 0 … 3. Bytes that no character has are
// none.
size_t unfinished_character_bytes(std::string_view text);

}  // namespace reprise
