#include "model/head.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "model/linear.h"

namespace reprise {

using torch::Tensor;

Tensor Head::forward(Tensor input, const StageContext& context) {
  if (!context.targets.defined()) throw std::invalid_argument("the head needs targets");
  const bool forms_gradients = torch::GradMode::is_enabled() && context.training;
  Tensor loss, grad_input;
  {
    const torch::NoGradGuard no_graph;
    const Tensor x = input.detach();  // (B, T, C)
    const Normed normed = normalised(x);
    // A chunk's rows are read for the last time before their gradient is written, so a normalised copy is written over.
    if (forms_gradients) grad_input = norm_ ? normed.output : at::empty_like(x);
    loss = loss_sum(normed.output.flatten(0, 1), context.targets.flatten(0, 1), context.loss_scale,
                    forms_gradients ? grad_input.flatten(0, 1) : Tensor());
    if (forms_gradients && norm_) grad_input = norm_->backward(grad_input, x, normed);
  }
  if (forms_gradients) {
    attach_backward(loss, input,
                    [grad_input = std::move(grad_input)](Tensor) mutable { return std::move(grad_input); });
  }
  return loss;
}

// With p = softmax(logits): d loss / d logits = p − onehot(target), and −log p[target] = max(logits) − logits[target] −
// log max(p), which stays finite where p[target] underflows. p is formed in the bytes of the logits.
Tensor Head::loss_sum(const Tensor& x, const Tensor& targets, double loss_scale, Tensor grad_x) const {
  if (!weight_) return squared_error(x, targets, loss_scale, std::move(grad_x));
  const int64_t tokens = x.size(0), chunk = std::min(chunk_tokens_, tokens);
  const Tensor weight = weight_->value.narrow(0, 0, vocabulary_);  // (V, C)
  const auto wide = x.element_size() < 4 ? torch::kFloat32 : x.scalar_type();
  const bool is_apart = wide != x.scalar_type() || !x.is_cpu();
  const Tensor buffer =  // on a device in padded rows: it multiplies far slower where they start at odd addresses
      at::empty({chunk, x.is_cpu() ? vocabulary_ : weight_->shape[0]}, x.options()).narrow(1, 0, vocabulary_);
  const Tensor wide_buffer = is_apart ? at::empty({chunk, vocabulary_}, x.options().dtype(wide)) : buffer;
  const Tensor minus_one = at::full({1, 1}, -1, wide_buffer.options());
  Tensor loss = at::zeros({}, x.options().dtype(torch::kFloat64));
  for (int64_t first = 0; first < tokens; first += chunk) {
    const int64_t rows = std::min(chunk, tokens - first);
    const Tensor x_rows = x.narrow(0, first, rows);
    const Tensor target = targets.narrow(0, first, rows).unsqueeze(1);  // (rows, 1)
    Tensor product = buffer.narrow(0, 0, rows);                         // (rows, V), in the type of x
    Tensor logits = wide_buffer.narrow(0, 0, rows);                     // the same, in the type of the statistics
    at::mm_out(product, x_rows, weight.t());
    if (is_apart) logits.copy_(product);
    const Tensor shortfall = logits.amax(1, /*keepdim=*/true).sub_(logits.gather(1, target));
    at::_softmax_out(logits, logits, 1, /*half_to_float=*/false);
    loss.add_(shortfall.sub_(logits.amax(1, /*keepdim=*/true).log_()).sum(torch::kFloat64));
    if (!grad_x.defined()) continue;
    logits.scatter_add_(1, target, minus_one.expand({rows, 1}));
    if (is_apart) product.copy_(logits);
    add_product_(weight_->grad().narrow(0, 0, vocabulary_), product, x_rows, loss_scale);
    Tensor grad_rows = grad_x.narrow(0, first, rows);
    at::mm_out(grad_rows, product, weight).mul_(loss_scale);
  }
  return loss.to(wide);
}

// The gradient is formed in the bytes of the difference.
Tensor Head::squared_error(const Tensor& x, const Tensor& targets, double loss_scale, Tensor grad_x) const {
  const auto width = static_cast<double>(x.size(1));
  const Tensor error = grad_x.defined() ? at::sub_out(grad_x, x, targets) : x - targets;  // (B·T, C)
  Tensor loss = at::zeros({}, x.options().dtype(torch::kFloat64));
  for (const Tensor& rows : error.split(chunk_tokens_)) loss.add_(rows.square().sum(torch::kFloat64));
  if (grad_x.defined()) grad_x.mul_(2 * loss_scale / width);
  return loss.div_(width).to(x.element_size() < 4 ? torch::kFloat32 : x.scalar_type());
}

Tensor Head::logits(const Tensor& input) const {
  return normalised(input).output.mm(weight_->value.narrow(0, 0, vocabulary_).t());
}

}  // namespace reprise
