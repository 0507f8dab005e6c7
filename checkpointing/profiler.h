#pragma once

#include <cstdint>

#include "checkpointing/cost_table.h"
#include "model/stage_chain.h"

namespace reprise {

struct ProfileSetting {
  int64_t micro_sequences = 1, tokens = 1;  // B and T of one micro-batch
  uint64_t seed = 1;                        // of the random tokens
  double seconds = 5;                       // to spend on timing; a slow model takes three rounds whatever that costs
};

// Measures every kind of stage of a model once: stages of equal name (without the layer) and equal parameter shapes are
// one kind. Works on random tokens and on the activations that follow from them, with at most two layers of a kind
// alive.
//
// Bytes are exact figures of the memory meter, taken from a stage that runs alone. Seconds are means of the middle half
// of interleaved rounds; a level's extra seconds are that mean over its differences to `all` within a round, and 0
// where the level keeps as much as `all`. forward_workspace_bytes describes a forward that keeps. A forward that
// forgets may need more beside its input; wherever that exceeds what the same stage's backward holds anyway, the figure
// covers it, so that a peak is never predicted too low and, for a model whose backward is the larger, not too high
// either.
//
// Fills micro_sequences, tokens, stages, and in base_bytes the loss that a micro-batch holds; device, the rest of
// base_bytes (parameters, gradients, optimizer, targets; the tokens belong to the first stage), optimizer, wire,
// buckets and micro_batches are the caller's. Adds to the parameters' gradients, which must be bound; zero them
// afterwards. No other thread may touch tensors meanwhile. Throws std::logic_error when the memory meter is not
// installed.
CostTable profile(StageChain& bound_model, const ProfileSetting& setting);

}  // namespace reprise
