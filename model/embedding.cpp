#include "model/embedding.h"

#include <ATen/core/grad_mode.h>

#include <stdexcept>
#include <string>

namespace reprise {

using torch::Tensor;

Tensor Embedding::forward(Tensor tokens, const StageContext& context) {
  const int64_t first = context.first_position, positions = tokens.size(1);
  if (first + positions > context_) {
    throw std::invalid_argument("sequences of " + std::to_string(first + positions) +
                                " tokens exceed the model's context of " + std::to_string(context_));
  }
  if (!token_) return tokens;
  Tensor output;  // (B, T, C)
  {
    const torch::NoGradGuard no_graph;
    output = at::embedding(token_->value, tokens);
    if (position_) output.add_(position_->value.narrow(0, first, positions));
    dropout_.add_residual_(output, {}, context);
  }
  if (torch::GradMode::is_enabled()) {
    attach_backward(output, tokens, [this, context, tokens](Tensor grad) {
      add_gradients(grad.contiguous(), tokens, context);
      return Tensor();
    });
  }
  return output;
}

// index_add_ touches the rows in use only; a gradient of the table's size would cost more than all else in this stage.
void Embedding::add_gradients(const Tensor& grad, const Tensor& tokens, const StageContext& context) const {
  const Tensor grad_sum = dropout_.backward(grad, context);  // (B, T, C)
  Tensor& token_grad = token_->grad();
  token_grad.index_add_(0, tokens.flatten(), grad_sum.flatten(0, 1).to(token_grad.scalar_type()));
  if (!position_) return;
  const Tensor rows = position_->grad().narrow(0, 0, tokens.size(1));
  for (const Tensor& sequence : grad_sum.unbind(0)) rows.add_(sequence);
}

}  // namespace reprise
