#include <cmath>

#include "model/flash_attention.h"
#include "model/transform.h"

namespace reprise {
namespace {

using torch::Tensor;

class Attention final : public Transform {
 public:
  Attention(int64_t heads, int64_t kv_heads, bool causal, std::shared_ptr<const Rotary> rotary)
      : Transform(/*needs_projected=*/true, /*needs_output=*/true),
        heads_(heads),
        kv_heads_(kv_heads),
        causal_(causal),
        rotary_(std::move(rotary)) {}

  Transformed forward(std::vector<Tensor>& projected) const override {
    const std::vector<Tensor> qkv = split(projected[0]);
    if (rotary_) {
      rotary_->apply_(qkv[0], /*inverse=*/false);
      rotary_->apply_(qkv[1], /*inverse=*/false);
    }
    Attended attended = flash_attention(qkv[0], qkv[1], qkv[2], causal_);
    return {attended.output.flatten(2), attended.logsumexp};
  }

  std::vector<Tensor> backward(Tensor grad, std::vector<Tensor> projected, Transformed transformed) const override {
    const std::vector<Tensor> qkv = split(projected[0]);
    const std::vector<int64_t> shape{heads_, -1};
    std::vector<Tensor> grads =
        flash_attention_backward(grad.unflatten(2, shape), qkv[0], qkv[1], qkv[2],
                                 {transformed.output.unflatten(2, shape), transformed.row_statistics}, causal_);
    if (rotary_) {
      rotary_->apply_(grads[0], /*inverse=*/true);
      rotary_->apply_(grads[1], /*inverse=*/true);
    }
    for (Tensor& piece : grads) piece = piece.flatten(2);
    return grads;
  }

 private:
  // Views q (B, T, H, D), k and v (B, T, K, D) of the projection's columns.
  std::vector<Tensor> split(const Tensor& projected) const {
    const Tensor rows = projected.unflatten(2, {heads_ + 2 * kv_heads_, -1});
    return rows.split_with_sizes({heads_, kv_heads_, kv_heads_}, 2);
  }

  const int64_t heads_, kv_heads_;
  const bool causal_;
  const std::shared_ptr<const Rotary> rotary_;
};

}  // namespace

Rotary::Rotary(int64_t context, int64_t head_width, double theta) {
  const auto options = torch::TensorOptions().dtype(torch::kFloat64);
  const Tensor exponent =
      at::arange(0, head_width, 2, options).mul_(-std::log(theta) / static_cast<double>(head_width));
  const Tensor angle = at::outer(at::arange(context, options), exponent.exp()).unsqueeze(1);  // (context, 1, D/2)
  cosine = angle.cos();
  sine = angle.sin();
}

void Rotary::apply_(Tensor heads, bool inverse) const {
  const int64_t positions = heads.size(1), half = heads.size(3) / 2;
  const Tensor c = cosine.narrow(0, 0, positions).to(heads.options());  // (T, 1, D/2)
  const Tensor s = sine.narrow(0, 0, positions).to(heads.options());
  const int sign = inverse ? -1 : 1;
  Tensor first = heads.narrow(3, 0, half), second = heads.narrow(3, half, half);
  const Tensor turned = at::mul(first, s);
  first.mul_(c).addcmul_(second, s, -sign);
  second.mul_(c).add_(turned, sign);
}

std::unique_ptr<Transform> make_attention(int64_t heads, int64_t kv_heads, bool causal,
                                          std::shared_ptr<const Rotary> rotary) {
  return std::make_unique<Attention>(heads, kv_heads, causal, std::move(rotary));
}

}  // namespace reprise
