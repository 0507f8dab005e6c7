#include "model/linear.h"

namespace reprise {

torch::Tensor Linear::forward(const torch::Tensor& x) const {
  return at::linear(x, weight->value, bias ? bias->value : torch::Tensor());
}

void Linear::add_parameter_gradients(const torch::Tensor& grad_y, const torch::Tensor& x, int64_t first_row) const {
  const torch::Tensor rows = grad_y.flatten(0, 1);  // (B·T, out)
  weight->grad().narrow(0, first_row, rows.size(1)).addmm_(rows.t(), x.flatten(0, 1));
  if (bias) bias->grad().narrow(0, first_row, rows.size(1)).add_(rows.sum(0));
}

void Linear::add_input_gradient(const torch::Tensor& grad_y, torch::Tensor& grad_x, int64_t first_row) const {
  const torch::Tensor rows = grad_y.flatten(0, 1);  // (B·T, out)
  const torch::Tensor used = weight->value.narrow(0, first_row, rows.size(1));
  if (grad_x.defined()) {
    grad_x.flatten(0, 1).addmm_(rows, used);
  } else {
    grad_x = rows.mm(used).view({grad_y.size(0), grad_y.size(1), used.size(1)});
  }
}

torch::Tensor Linear::input_gradient(const torch::Tensor& grad_y) const {
  torch::Tensor grad_x;
  add_input_gradient(grad_y, grad_x);
  return grad_x;
}

}  // namespace reprise
