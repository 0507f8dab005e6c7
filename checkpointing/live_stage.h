#pragma once

#include <torch/csrc/autograd/edge.h>
#include <torch/types.h>

#include "model/stage.h"

namespace reprise {

// A stage between its forward and its backward. Holds the detached input and the end of the stage's graph, and not the
// output: that is the next stage's input and dies with it. Destroying it at any time releases what it holds.
class LiveStage {
 public:
  // Runs the stage with grad mode on and returns its output, detached.
  // Throws std::logic_error when the output carries no graph, that is, when nothing in the stage is trainable.
  torch::Tensor forward(Stage& stage, const torch::Tensor& input, const StageContext& context);

  // Adds to the parameters' gradients, releases the graph and the input, and returns the input's gradient; undefined
  // when the input is tokens. After forward(), once.
  torch::Tensor backward(torch::Tensor gradient);

 private:
  torch::Tensor input_;  // (B, T, C), or (B, T) int64 for the first stage
  torch::autograd::Edge end_;
};

}  // namespace reprise
