#pragma once

#include <torch/types.h>

#include "model/parameter.h"

namespace reprise {

// sum (n, m) += scale · aᵀ·b for a (k, n) and b (k, m). Where a and b are narrower than the sum, the CPU rounds their
// product to their type and then adds it, in blocks of 2^20 elements, so that no temporary is larger; a device adds it
// as it is, in fp32.
void add_product_(torch::Tensor sum, const torch::Tensor& a, const torch::Tensor& b, double scale = 1);

// y = x · Wᵀ + b with gradients by hand: they are added in place to the parameters' .grad views, without a temporary of
// the weight's size. Tensors are (B, T, in) and (B, T, out). Works on a range of W's rows where one matrix serves
// several outputs.
struct Linear {
  Parameter* weight = nullptr;  // (out, in)
  Parameter* bias = nullptr;    // (out), may be null

  int64_t outputs() const { return weight->shape[0]; }
  torch::Tensor forward(const torch::Tensor& x) const;

  // grad_y belongs to the outputs first_row … first_row + grad_y.size(2).
  void add_parameter_gradients(const torch::Tensor& grad_y, const torch::Tensor& x, int64_t first_row = 0) const;
  void add_input_gradient(const torch::Tensor& grad_y, torch::Tensor& grad_x, int64_t first_row = 0) const;
};

}  // namespace reprise
