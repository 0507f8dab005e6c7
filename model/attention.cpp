#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <fmt/format.h>

#include <cmath>

#include "model/model_config.h"
#include "model/transform.h"

namespace reprise {
namespace {

using torch::Tensor;

// The only place that names the fused operators, which want heads before positions and scale by 1/√D: one for the CPU,
// CUDA's flash attention for types of two bytes, its memory-efficient attention for fp32. They share key heads between
// query heads, query head h reads key head h·K/H; but the memory-efficient one wants a key head for each. Their
// backwards add in one order only under at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false).
constexpr double kDropout = 0.0;

Tensor spread(const Tensor& kv, const Tensor& q) {  // (B, K, T, D) → (B, H, T, D)
  return kv.unsqueeze(2).expand({-1, -1, q.size(1) / kv.size(1), -1, -1}).flatten(1, 2);
}

// The output (B, H, T, D) and what the backward wants to know of each row.
Transformed attend(const Tensor& q, const Tensor& k, const Tensor& v, bool is_causal) {
  constexpr auto result = [](const auto& all) { return Transformed{std::get<0>(all), std::get<1>(all)}; };
  if (q.is_cpu()) return result(at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, kDropout, is_causal));
  const int64_t unit = 16 / q.element_size();
  if (q.size(3) % unit != 0) {
    throw InvalidSetting("model.heads", fmt::format("expected model.width / model.heads to be a multiple of {} on this "
                                                    "device in this precision, got {}",
                                                    unit, q.size(3)));
  }
  if (q.element_size() == 2) return result(at::_scaled_dot_product_flash_attention(q, k, v, kDropout, is_causal));
  return result(at::_scaled_dot_product_efficient_attention(q, spread(k, q), spread(v, q), {},
                                                            /*compute_log_sumexp=*/true, kDropout, is_causal));
}

std::vector<Tensor> attend_backward(const Tensor& grad, const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Tensor& out, const Tensor& sums, bool is_causal) {
  constexpr auto result = [](const auto& all) {
    return std::vector<Tensor>{std::get<0>(all), std::get<1>(all), std::get<2>(all)};
  };
  if (q.is_cpu()) {
    return result(
        at::_scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, sums, kDropout, is_causal));
  }
  const Tensor no_seed = at::empty({}, q.options().dtype(torch::kInt64));  // dropout is elsewhere
  if (q.element_size() == 2) {
    return result(at::_scaled_dot_product_flash_attention_backward(grad, q, k, v, out, sums, {}, {}, q.size(2),
                                                                   k.size(2), kDropout, is_causal, no_seed, no_seed));
  }
  std::vector<Tensor> grads = result(
      at::_scaled_dot_product_efficient_attention_backward(grad, q, spread(k, q), spread(v, q), {}, out, sums, no_seed,
                                                           no_seed, kDropout, {true, true, true, false}, is_causal));
  for (size_t i = 1; i < 3; ++i) grads[i] = grads[i].unflatten(1, {k.size(1), -1}).sum(2);  // (B, K, T, D)
  return grads;
}

class Attention final : public Transform {
 public:
  Attention(int64_t heads, int64_t kv_heads, std::shared_ptr<const Rotary> rotary, bool is_causal)
      : Transform(/*needs_projected=*/true, /*needs_output=*/true),
        heads_(heads),
        kv_heads_(kv_heads),
        rotary_(std::move(rotary)),
        is_causal_(is_causal) {}

  Transformed forward(std::vector<Tensor>& projected, const StageContext& context) const override {
    std::vector<Tensor> qkv = split(projected[0]);
    const int64_t first = context.first_position, positions = qkv[0].size(2);
    for (int i = 0; rotary_ && i < 2; ++i) rotary_->apply_(qkv[i], first, /*inverse=*/false);
    for (int i = 0; context.keys_values.defined() && i < 2; ++i) {
      const Tensor all = context.keys_values[i].narrow(2, 0, first + positions);  // (B, K, first + T, D)
      all.narrow(2, first, positions).copy_(qkv[1 + i]);
      qkv[1 + i] = all;
    }
    Transformed attended = attend(qkv[0], qkv[1], qkv[2], is_causal_ && first == 0);  // the last one may see all
    attended.output = attended.output.transpose(1, 2).flatten(2);
    return attended;
  }

  std::vector<Tensor> backward(Tensor grad, std::vector<Tensor> projected, Transformed transformed) const override {
    const std::vector<Tensor> qkv = split(projected[0]);
    const auto by_heads = [&](const Tensor& x) { return x.unflatten(2, {heads_, -1}).transpose(1, 2); };
    std::vector<Tensor> grads = attend_backward(by_heads(grad), qkv[0], qkv[1], qkv[2], by_heads(transformed.output),
                                                transformed.row_statistics, is_causal_);
    for (int i = 0; rotary_ && i < 2; ++i) rotary_->apply_(grads[i], 0, /*inverse=*/true);
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
  const bool is_causal_;
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

void Rotary::apply_(Tensor heads, int64_t first, bool inverse) const {
  if (heads.element_size() < 4) {  // a narrow type has no room for the angle of a far position
    const Tensor wide = heads.to(torch::kFloat32);
    apply_(wide, first, inverse);
    heads.copy_(wide);
    return;
  }
  cosine = cosine.to(heads.device()), sine = sine.to(heads.device());  // which moves them once
  const int64_t positions = heads.size(2), half = heads.size(3) / 2;
  const Tensor c = cosine.narrow(0, first, positions).to(heads.options());  // (T, D/2)
  const Tensor s = sine.narrow(0, first, positions).to(heads.options());
  const int sign = inverse ? -1 : 1;
  Tensor low = heads.narrow(3, 0, half), high = heads.narrow(3, half, half);
  const Tensor turned = at::mul(low, s);
  low.mul_(c).addcmul_(high, s, -sign);
  high.mul_(c).add_(turned, sign);
}

std::unique_ptr<Transform> make_attention(int64_t heads, int64_t kv_heads, std::shared_ptr<const Rotary> rotary,
                                          bool is_causal) {
  return std::make_unique<Attention>(heads, kv_heads, std::move(rotary), is_causal);
}

}  // namespace reprise
