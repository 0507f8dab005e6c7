#include "checkpointing/live_stage.h"

#include <torch/autograd.h>
#include <torch/csrc/autograd/engine.h>

#include <stdexcept>

namespace reprise {

torch::Tensor LiveStage::forward(Stage& stage, const torch::Tensor& input, const StageContext& context) {
  const at::AutoGradMode grad_mode(true);
  input_ = input.detach();
  if (input_.is_floating_point()) input_.set_requires_grad(true);
  const torch::Tensor output = stage.forward(input_, context);
  if (!output.requires_grad()) throw std::logic_error(stage.name + ": its output carries no graph to go back through");
  end_ = torch::autograd::impl::gradient_edge(output);
  return output.detach();
}

torch::Tensor LiveStage::backward(torch::Tensor gradient) {
  // The engine itself, because torch::autograd::backward starts from the output tensor, and would need it kept alive.
  torch::autograd::Engine::get_default_engine().execute({std::move(end_)}, {std::move(gradient)}, /*keep_graph=*/false,
                                                        /*create_graph=*/false, /*accumulate_grad=*/true);
  end_ = {};
  const torch::Tensor input = std::move(input_);
  return input.grad();
}

}  // namespace reprise
