#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "model/save_level.h"

namespace reprise {

// One micro-batch: B sequences of T tokens and the tokens that follow them; for a regression, real numbers (B, T, C).
struct Batch {
  torch::Tensor tokens;        // (B, T) int64
  torch::Tensor targets;       // (B, T) int64
  int64_t step = 0;            // optimizer step it belongs to
  int64_t first_sequence = 0;  // global index of its first sequence
};

// What a stage may depend on beside its input and its parameters. A replay gets the very same context, hence the same
// bits.
struct StageContext {
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t first_sequence = 0;  // global index of the batch's first sequence: addresses dropout
  int stage = 0;
  bool training = false;  // dropout on; the head forms gradients
  // Nobody reads the output, only the backward will run: a stage may stop once it holds what that reads, and return any
  // values in the output's shape and type.
  bool early_stop = false;
  SaveLevel save = SaveLevel::all;
  torch::Tensor targets;    // (B, T) int64; the head's only
  double loss_scale = 1.0;  // multiplies every gradient; the head's only
  std::function<void()>
      early_final;  // called in the backward, unless empty, when early parameters have their gradients
  // For sampling, with grad mode off: positions before the input's first one are not computed again. Above 0 the input
  // is one position, and attention reads the earlier ones' keys and values here, where it adds those of its input.
  int64_t first_position = 0;
  torch::Tensor keys_values;  // (2, B, K, context, D), of a layer; undefined: every position is in the input
};

// One link of the chain. Alphabet of shapes: B sequences, T positions, C width, H heads, D head width, V vocabulary.
// The first stage takes tokens (B, T) int64; the last returns the loss sum, () in fp32 (fp64 for fp64 models).
// Runs on the calling thread and the current stream.
class Stage {
 public:
  Stage(std::string stage_name, int stage_layer, bool can_recompute)
      : name(std::move(stage_name)), layer(stage_layer), recomputable(can_recompute) {}
  virtual ~Stage() = default;

  // (B, T, C) → (B, T, C). With grad mode on the result carries a graph that reaches `input` (when it requires grad);
  // its backward runs once and adds parameter gradients straight into the parameters' .grad views. With grad mode off
  // nothing is kept.
  virtual torch::Tensor forward(torch::Tensor input, const StageContext& context) = 0;

  const std::string name;   // "embedding", "layer3.attention", "layer3.feed_forward", "head"
  const int layer;          // -1 for embedding and head
  const bool recomputable;  // may be part of a recomputed segment
};

// Takes the gradient of a stage's output, adds the parameters' gradients, returns the gradient of the stage's input
// (undefined if it has none). What it captures is what the stage keeps.
using StageBackward = std::function<torch::Tensor(torch::Tensor grad)>;

// For stages: makes `output`, computed without a graph, the result of one autograd node over `input` with a backward
// written by hand. The node gives up the function when it runs, so the function may free what it captured as it goes; a
// second run throws.
void attach_backward(torch::Tensor& output, const torch::Tensor& input, StageBackward backward);

}  // namespace reprise
