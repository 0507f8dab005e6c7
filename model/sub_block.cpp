#include "model/sub_block.h"

#include <ATen/core/grad_mode.h>

#include <utility>

namespace reprise {

using torch::Tensor;

Tensor SubBlock::forward(Tensor input, const StageContext& context) {
  const bool has_graph = torch::GradMode::is_enabled();
  Kept kept;
  Tensor output;
  {
    const torch::NoGradGuard no_graph;
    output = compute(input.detach(), context, has_graph, kept);
  }
  if (has_graph) {
    attach_backward(output, input, [this, context, kept = std::move(kept)](Tensor grad) mutable {
      return gradient(grad.contiguous(), context, std::move(kept));
    });
  }
  return output;
}

// Lets go of each tensor when the forward is through with it, unless the backward is to find it.
Tensor SubBlock::compute(const Tensor& input, const StageContext& context, bool has_graph, Kept& kept) const {
  const bool keeps_all = has_graph && context.save == SaveLevel::all;
  const bool keeps_needed = has_graph && context.save != SaveLevel::input;
  kept.input = input;
  if (parts_.norm_first) kept.normed = parts_.norm.forward(input);
  kept.projected = project(projections_input(kept));
  if (!keeps_all) kept.normed = {};
  kept.transformed = parts_.transform->forward(kept.projected, context);
  if (!keeps_needed || !parts_.transform->needs_projected) kept.projected.clear();
  const bool stops = context.early_stop && parts_.norm_first;  // else the backward reads the norm's statistics
  Tensor sum = stops ? at::empty_strided(input.sizes(), {0, 0, 0}, input.options())
                     : parts_.output.forward(kept.transformed.output);  // (B, T, C)
  if (!keeps_all && !(keeps_needed && parts_.transform->needs_output)) kept.transformed = {};
  if (!stops) parts_.dropout.add_residual_(sum, input, context);
  if (parts_.norm_first) return sum;
  kept.normed = parts_.norm.forward(sum);
  kept.sum = std::move(sum);
  return std::exchange(kept.normed.output, Tensor());
}

Tensor SubBlock::gradient(const Tensor& grad, const StageContext& context, Kept kept) const {
  Tensor grad_sum = grad;  // (B, T, C), what both branches of the sum receive
  if (!parts_.norm_first) {
    grad_sum = parts_.norm.backward(grad, kept.sum, std::exchange(kept.normed, {}));
    kept.sum.reset();
  }
  Tensor grad_transformed = transformed_gradient(grad_sum, context, kept);
  std::vector<Tensor> pieces = parts_.transform->backward(
      std::move(grad_transformed), std::exchange(kept.projected, {}), std::exchange(kept.transformed, {}));
  Tensor grad_input = projections_gradient(std::move(pieces), projections_input(kept));
  if (parts_.norm_first) {
    kept.normed.output.reset();
    grad_input = parts_.norm.backward(grad_input, kept.input, kept.normed);
  }
  return grad_input.add_(grad_sum);
}

// The output layer's share: adds its parameters' gradients and leaves in `kept` what the transform's backward reads.
Tensor SubBlock::transformed_gradient(const Tensor& grad_sum, const StageContext& context, Kept& kept) const {
  if (!kept.transformed.output.defined()) {
    if (kept.projected.empty()) kept.projected = project(projections_input(kept));
    kept.transformed = parts_.transform->forward(kept.projected, context);
  }
  const Tensor grad_branch = parts_.dropout.backward(grad_sum, context);
  parts_.output.add_parameter_gradients(grad_branch, kept.transformed.output);
  if (context.early_final) context.early_final();
  if (!parts_.transform->needs_output) kept.transformed = {};
  Tensor grad_transformed;
  parts_.output.add_input_gradient(grad_branch, grad_transformed);
  return grad_transformed;
}

// Each piece belongs to the next columns of the projections.
Tensor SubBlock::projections_gradient(std::vector<Tensor> pieces, const Tensor& x) const {
  Tensor grad_x;  // (B, T, C)
  auto projection = parts_.projections.begin();
  int64_t first_row = 0;
  for (Tensor& piece : pieces) {
    projection->add_parameter_gradients(piece, x, first_row);
    projection->add_input_gradient(piece, grad_x, first_row);
    first_row += piece.size(2);
    piece.reset();
    if (first_row == projection->outputs()) {
      ++projection;
      first_row = 0;
    }
  }
  return grad_x;
}

std::vector<Tensor> SubBlock::project(const Tensor& x) const {
  std::vector<Tensor> projected;
  for (const Linear& projection : parts_.projections) projected.push_back(projection.forward(x));
  return projected;
}

const Tensor& SubBlock::projections_input(Kept& kept) const {
  if (!parts_.norm_first) return kept.input;
  if (!kept.normed.output.defined()) kept.normed = parts_.norm.forward(kept.input);
  return kept.normed.output;
}

}  // namespace reprise
