#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "distributed/flat_layout.h"
#include "model/stage_chain.h"
#include "training/optimizer.h"

namespace reprise {

// Where a model's parameters lie in its flat tensors.
FlatLayout layout_of(const StageChain& model);

// Flat parameters and gradients of a model, and the binding of the model's parameters to views of both. The model must
// not outlive it. Without gradients the model can only be evaluated.
struct FlatModel {
  FlatModel(StageChain& model, bool with_gradients, torch::Dtype dtype = torch::kFloat32);

  FlatLayout layout;
  torch::Tensor parameters;       // (layout.numel)
  torch::Tensor gradients;        // (layout.numel), or undefined
  std::vector<FlatRange> ranges;  // what decays and what does not; covers the tensor, neighbours differ
};

// XXH3-64 in hex over the parameters' bytes in table order without padding.
std::string weights_hash(const StageChain& model);

// Short texts for ranks to compare: of the parameters' names, shapes and stages, and of the buckets' places.
std::string describe_parameters(const StageChain& model);
std::string describe_buckets(const std::vector<Bucket>& buckets);

}  // namespace reprise
