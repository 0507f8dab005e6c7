#pragma once

#include <optional>

#include "model/norm.h"
#include "model/parameter.h"
#include "model/stage.h"

namespace reprise {

// Last stage: final norm (none for postnorm), projection to the vocabulary, cross-entropy. (B, T, C) → the loss summed
// over all targets in nats, (), unscaled. Logits exist for head_chunk_tokens rows at a time. In training with grad mode
// on the forward also forms the gradients, scaled by context.loss_scale, so it runs once per micro-batch and keeps only
// its input's gradient, at every save level; its backward hands that out and takes the loss's own gradient to be one.
// The vocabulary's padding rows are never touched. Evaluation gives the loss bits of training. Without a weight, for a
// regression: targets are (B, T, C), and the loss is the sum over B and T of the mean over C of (input − target)².
class Head final : public Stage {
 public:
  Head(std::optional<Norm> norm, Parameter* weight, int64_t vocabulary, int64_t chunk_tokens)
      : Stage("head", -1, /*can_recompute=*/false),
        norm_(norm),
        weight_(weight),
        vocabulary_(vocabulary),
        chunk_tokens_(chunk_tokens) {}

  torch::Tensor forward(torch::Tensor input, const StageContext& context) override;

  // (B, C) of single positions → (B, vocabulary). Grad mode must be off.
  torch::Tensor logits(const torch::Tensor& input) const;

 private:
  Normed normalised(const torch::Tensor& x) const { return norm_ ? norm_->forward(x) : Normed{x, {}, {}}; }
  torch::Tensor loss_sum(const torch::Tensor& x, const torch::Tensor& targets, double loss_scale,
                         torch::Tensor grad_x) const;

  torch::Tensor squared_error(const torch::Tensor& x, const torch::Tensor& targets, double loss_scale,
                              torch::Tensor grad_x) const;

  const std::optional<Norm> norm_;
  Parameter* const weight_;  // (padded V, C), may be null
  const int64_t vocabulary_, chunk_tokens_;
};

}  // namespace reprise
