#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

#include <cmath>

#include "model/transform.h"

namespace reprise {
namespace {

using torch::Tensor;

// The only place that names the device's fused operator, which wants heads before positions, scales by 1/√D, and shares
// key heads between query heads itself: query head h reads key head h·K/H.
class Attention final : public Transform {
 public:
  Attention(int64_t heads, int64_t kv_heads, std::shared_ptr<const Rotary> rotary)
      : Transform(/*needs_projected=*/true, /*needs_output=*/true),
        heads_(heads),
        kv_heads_(kv_heads),
        rotary_(std::move(rotary)) {}

  Transformed forward(std::vector<Tensor>& projected) const override {
    const std::vector<Tensor> qkv = split(projected[0]);
    for (int i = 0; rotary_ && i < 2; ++i) rotary_->apply_(qkv[i], /*inverse=*/false);
    auto [output, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(qkv[0], qkv[1], qkv[2],
                                                                               /*dropout_p=*/0.0, /*is_causal=*/true);
    return {output.transpose(1, 2).flatten(2), logsumexp};
  }

  std::vector<Tensor> backward(Tensor grad, std::vector<Tensor> projected, Transformed transformed) const override {
    const std::vector<Tensor> qkv = split(projected[0]);
    const auto by_heads = [&](const Tensor& x) { return x.unflatten(2, {heads_, -1}).transpose(1, 2); };
    auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        by_heads(grad), qkv[0], qkv[1], qkv[2], by_heads(transformed.output), transformed.row_statistics,
        /*dropout_p=*/0.0, /*is_causal=*/true);
    std::vector<Tensor> grads{grad_q, grad_k, grad_v};
    for (int i = 0; rotary_ && i < 2; ++i) rotary_->apply_(grads[i], /*inverse=*/true);
    for (Tensor& piece : grads) piece = piece.transpose(1, 2).flatten(2);
    return grads;
  }

 private:
  // Views q (B, H, T, D), k and v (B, K, T, D) of the projection's columns.
  std::vector<Tensor> split(const Tensor& projected) const {
    const Tensor rows = projected.unflatten(2, {heads_ + 2 * kv_heads_, -1}).transpose(1, 2);
    return rows.split_with_sizes({heads_, kv_heads_, kv_heads_}, 1);
  }

  const int64_t heads_, kv_heads_;
  const std::shared_ptr<const Rotary> rotary_;
};

}  // namespace

Rotary::Rotary(int64_t context, int64_t head_width, double theta) {
  const auto options = torch::TensorOptions().dtype(torch::kFloat64);
  const Tensor exponent =
      at::arange(0, head_width, 2, options).mul_(-std::log(theta) / static_cast<double>(head_width));
  const Tensor angle = at::outer(at::arange(context, options), exponent.exp());  // (context, D/2)
  cosine = angle.cos();
  sine = angle.sin();
}

void Rotary::apply_(Tensor heads, bool inverse) const {
  if (heads.element_size() < 4) {  // a narrow type has no room for the angle of a far position
    const Tensor wide = heads.to(torch::kFloat32);
    apply_(wide, inverse);
    heads.copy_(wide);
    return;
  }
  const int64_t positions = heads.size(2), half = heads.size(3) / 2;
  const Tensor c = cosine.narrow(0, 0, positions).to(heads.options());  // (T, D/2)
  const Tensor s = sine.narrow(0, 0, positions).to(heads.options());
  const int sign = inverse ? -1 : 1;
  Tensor first = heads.narrow(3, 0, half), second = heads.narrow(3, half, half);
  const Tensor turned = at::mul(first, s);
  first.mul_(c).addcmul_(second, s, -sign);
  second.mul_(c).add_(turned, sign);
}

std::unique_ptr<Transform> make_attention(int64_t heads, int64_t kv_heads, std::shared_ptr<const Rotary> rotary) {
  return std::make_unique<Attention>(heads, kv_heads, std::move(rotary));
}

}  // namespace reprise
