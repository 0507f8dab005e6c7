#include "model/stage.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <utility>

namespace reprise {
namespace {

using torch::autograd::variable_list;

// A Node of its own and not torch::autograd::Function: saved variables of a Function live until its backward has
// returned, which would keep a sub-block's tensors over the peak of its backward.
class BackwardNode final : public torch::autograd::Node {
 public:
  BackwardNode(torch::autograd::edge_list edges, StageBackward backward)
      : Node(std::move(edges)), backward_(std::move(backward)) {}

  std::string name() const override { return "reprise::BackwardNode"; }
  void release_variables() override { backward_ = nullptr; }

 private:
  variable_list apply(variable_list&& grads) override {
    TORCH_CHECK(backward_, "the backward of a stage runs once");
    StageBackward backward = std::exchange(backward_, nullptr);
    torch::Tensor grad_input = backward(std::move(grads[0]));
    return num_outputs() == 0 ? variable_list{} : variable_list{std::move(grad_input)};
  }

  StageBackward backward_;
};

}  // namespace

void attach_backward(torch::Tensor& output, const torch::Tensor& input, StageBackward backward) {
  torch::autograd::edge_list edges;
  if (input.requires_grad()) edges = torch::autograd::collect_next_edges(input);
  torch::autograd::set_history(output, std::make_shared<BackwardNode>(std::move(edges), std::move(backward)));
}

}  // namespace reprise
