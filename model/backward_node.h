#pragma once

#include <torch/types.h>

#include <functional>

namespace reprise {

// Takes the gradient of a stage's output, adds the parameters' gradients, returns the gradient of the stage's input
// (undefined if it has none). What it captures is what the stage keeps.
using StageBackward = std::function<torch::Tensor(torch::Tensor grad)>;

// Makes `output`, computed without a graph, the result of one autograd node over `input` with a backward written by
// hand. The node gives up the function when it runs, so the function may free what it captured as it goes; a second run
// throws.
void attach_backward(torch::Tensor& output, const torch::Tensor& input, StageBackward backward);

}  // namespace reprise
