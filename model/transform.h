#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "model/stage.h"

namespace reprise {

// What stands between the two linear layers of a sub-block.
struct Transformed {
  torch::Tensor output;          // (B, T, ·)
  torch::Tensor row_statistics;  // attention's logsumexp; undefined otherwise
};

// Parameter-free middle of a sub-block: attention, or an activation. Stateless; one object serves its stage for good.
class Transform {
 public:
  Transform(bool reads_projected, bool reads_output) : needs_projected(reads_projected), needs_output(reads_output) {}
  virtual ~Transform() = default;

  // May overwrite or take the projections, which have just been computed; what it leaves is what backward reads.
  virtual Transformed forward(std::vector<torch::Tensor>& projected, const StageContext& context) const = 0;

  // The gradients of the projections in the order of their columns, in one or several pieces. Owns its arguments and
  // overwrites them.
  virtual std::vector<torch::Tensor> backward(torch::Tensor grad, std::vector<torch::Tensor> projected,
                                              Transformed transformed) const = 0;

  const bool needs_projected;  // the backward reads the projections
  const bool needs_output;     // the backward reads the output; if not, the output is cheap to compute again
};

std::unique_ptr<Transform> make_gelu();    // tanh form; one projection
std::unique_ptr<Transform> make_relu();    // one projection
std::unique_ptr<Transform> make_swiglu();  // projections gate and up: silu(gate) ∘ up

// Rotary positions in the half-split convention: elements i and i + D/2 of a head turn by t·theta^(−2i/D).
struct Rotary {
  Rotary(int64_t context, int64_t head_width, double theta);
  // Turns (B, H, T, D) in place, whose first position is t = first; the inverse turns back.
  void apply_(torch::Tensor heads, int64_t first, bool inverse) const;
  mutable torch::Tensor cosine, sine;  // (context, D/2) fp64, on the device that uses them
};

// Self-attention over one projection whose columns are H query heads, K key heads, K value heads; causal, or every
// position sees all. `rotary` may be null.
std::unique_ptr<Transform> make_attention(int64_t heads, int64_t kv_heads, std::shared_ptr<const Rotary> rotary,
                                          bool is_causal);

}  // namespace reprise
