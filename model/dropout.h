#pragma once

#include <torch/types.h>

#include <cstdint>

#include "model/philox.h"
#include "model/stage.h"

namespace reprise {

enum class DropoutSite : uint32_t { embedding = 0, attention = 1, feed_forward = 2 };

// Dropout whose mask is f(seed, step, global sequence index, stage, site, element) by the formula in model/philox.h:
// never stored, drawn again by the backward, independent of threads and of how sequences are split into micro-batches
// and ranks.
struct Dropout {
  double rate = 0.0;
  DropoutSite site = DropoutSite::embedding;

  bool is_on(const StageContext& context) const { return context.training && rate > 0.0; }

  // value ← residual + mask ∘ value / (1 − rate), with an undefined residual for zero; contiguous (B, T, C) of any
  // floating type, computed in fp32 at least. When off: value ← residual + value.
  void add_residual_(torch::Tensor& value, const torch::Tensor& residual, const StageContext& context) const;

  // The gradient of `value`: a new tensor, or `grad` itself when off.
  torch::Tensor backward(const torch::Tensor& grad, const StageContext& context) const;
};

// Which elements fall, (B, count) bool, from element `first` of each of the sequences from `at` on: what
// dropout_kernel() says, by LibTorch's own operations on any device.
torch::Tensor drawn_by_tensors(const DropoutAddress& at, int64_t sequences, int64_t first, int64_t count,
                               uint32_t threshold, torch::Device device);

}  // namespace reprise
