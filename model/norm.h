#pragma once

#include <torch/types.h>

#include "model/parameter.h"

namespace reprise {

// A normalised tensor and the row statistics that the backward reads.
struct Normed {
  torch::Tensor output;      // (B, T, C)
  torch::Tensor mean;        // (B, T, 1); undefined for RMSNorm
  torch::Tensor reciprocal;  // (B, T, 1), one over the deviation
};

// Statistics have the master's type, whatever the type of x, and so have the parameters on the CPU; a device reads them
// in the type of x. LayerNorm, or RMSNorm (x / √(mean(x²) + ε) · w) when there is no bias, over the last dimension.
struct Norm {
  Parameter* weight = nullptr;  // (C)
  Parameter* bias = nullptr;    // (C); null: RMSNorm
  double epsilon = 1e-5;

  Normed forward(const torch::Tensor& x) const;
  // Adds to the parameters' gradients and returns the gradient of x. Reads only the statistics of `normed`.
  torch::Tensor backward(const torch::Tensor& grad, const torch::Tensor& x, const Normed& normed) const;
};

}  // namespace reprise
