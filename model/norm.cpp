#include "model/norm.h"

#include <array>

namespace reprise {
namespace {

// A device's fused kernels take x and the parameters in one type, and keep their statistics in fp32 whatever that is.
torch::Tensor beside(const torch::Tensor& x, const Parameter& parameter) {
  return x.is_cpu() ? parameter.value : parameter.value.to(x.scalar_type());
}

Normed rms_forward(const torch::Tensor& x, const torch::Tensor& weight, double epsilon) {
  const double width = static_cast<double>(x.size(-1));
  torch::Tensor root =  // (B, T, 1), √Σx²
      at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true, weight.scalar_type());
  torch::Tensor reciprocal = root.square_().div_(width).add_(epsilon).rsqrt_();
  return {at::mul(x, reciprocal).mul_(weight).to(x.scalar_type()), {}, reciprocal};
}

// With r = 1/√(mean(x²) + ε) and y = w ∘ x·r:  dw = Σ dy ∘ x·r  and  dx = w ∘ dy·r − x·r²·mean(w ∘ dy ∘ x·r).
torch::Tensor rms_backward(const torch::Tensor& grad, const torch::Tensor& x, const torch::Tensor& reciprocal,
                           const Parameter& weight) {
  torch::Tensor product = at::mul(grad.to(reciprocal.scalar_type()), x).mul_(reciprocal);  // (B, T, C)
  weight.grad().add_(product.sum(at::IntArrayRef{0, 1}));
  torch::Tensor factor = product.matmul(weight.value).unsqueeze(-1);  // (B, T, 1)
  product.reset();
  factor.mul_(reciprocal).mul_(reciprocal).div_(static_cast<double>(x.size(-1)));
  return at::mul(grad, weight.value).mul_(reciprocal).addcmul_(x, factor, -1).to(grad.scalar_type());
}

}  // namespace

Normed Norm::forward(const torch::Tensor& x) const {
  if (bias) {
    auto [output, mean, reciprocal] =
        at::native_layer_norm(x, {x.size(-1)}, beside(x, *weight), beside(x, *bias), epsilon);
    return {output, mean, reciprocal};
  }
  if (x.is_cpu()) return rms_forward(x, weight->value, epsilon);
  auto [output, reciprocal] = at::_fused_rms_norm(x, {x.size(-1)}, beside(x, *weight), epsilon);
  return {output, {}, reciprocal};
}

torch::Tensor Norm::backward(const torch::Tensor& grad, const torch::Tensor& x, const Normed& normed) const {
  if (!bias && x.is_cpu()) return rms_backward(grad, x, normed.reciprocal, *weight);
  torch::Tensor grad_x, grad_weight, grad_bias;
  if (bias) {
    std::tie(grad_x, grad_weight, grad_bias) =
        at::native_layer_norm_backward(grad, x, {x.size(-1)}, normed.mean, normed.reciprocal, beside(x, *weight),
                                       beside(x, *bias), std::array<bool, 3>{true, true, true});
    bias->grad().add_(grad_bias);
  } else {
    std::tie(grad_x, grad_weight) = at::_fused_rms_norm_backward(grad, x, {x.size(-1)}, normed.reciprocal,
                                                                 beside(x, *weight), std::array<bool, 2>{true, true});
  }
  weight->grad().add_(grad_weight);
  return grad_x;
}

}  // namespace reprise
