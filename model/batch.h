#pragma once

#include <torch/types.h>

#include <cstdint>

namespace reprise {

// One micro-batch: B sequences of T tokens and the tokens that follow them.
struct Batch {
  torch::Tensor tokens;        // (B, T) int64
  torch::Tensor targets;       // (B, T) int64
  int64_t step = 0;            // optimizer step it belongs to
  int64_t first_sequence = 0;  // global index of its first sequence
};

}  // namespace reprise
