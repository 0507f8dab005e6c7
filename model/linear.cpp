#include "model/linear.h"

#include <algorithm>

namespace reprise {

void add_product_(torch::Tensor sum, const torch::Tensor& a, const torch::Tensor& b, double scale) {
  if (a.scalar_type() == sum.scalar_type()) {
    sum.addmm_(a.t(), b, /*beta=*/1, /*alpha=*/scale);
    return;
  }
  if (!sum.is_cpu()) {
    at::addmm_out(sum, sum, a.t(), b, sum.scalar_type(), /*beta=*/1, /*alpha=*/scale);
    return;
  }
  constexpr int64_t kBlockElements = 1 << 20;
  const int64_t block = std::max<int64_t>(1, kBlockElements / sum.size(1));
  for (int64_t first = 0; first < sum.size(0); first += block) {
    const int64_t rows = std::min(block, sum.size(0) - first);
    sum.narrow(0, first, rows).add_(a.narrow(1, first, rows).t().mm(b), scale);
  }
}

torch::Tensor Linear::forward(const torch::Tensor& x) const {
  return at::linear(x, weight->value, bias ? bias->value : torch::Tensor());
}

void Linear::add_parameter_gradients(const torch::Tensor& grad_y, const torch::Tensor& x, int64_t first_row) const {
  const torch::Tensor rows = grad_y.flatten(0, 1);  // (B·T, out)
  add_product_(weight->grad().narrow(0, first_row, rows.size(1)), rows, x.flatten(0, 1));
  if (!bias) return;
  const torch::Tensor grad_bias = bias->grad().narrow(0, first_row, rows.size(1));
  grad_bias.add_(rows.sum(0, /*keepdim=*/false, grad_bias.scalar_type()));
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

}  // namespace reprise
