#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "distributed/flat_layout.h"
#include "model/stage_chain.h"
#include "training/optimizer.h"

namespace reprise {

// The types of a step. Parameters, accumulated gradients, moments, norms and the loss are fp32 in any case.
struct Precision {
  torch::Dtype compute = torch::kFloat32;  // activations and the parameters that matrix products read
  torch::Dtype reduce = torch::kFloat32;   // gradients between ranks
  bool scales_loss = false;                // see LossScaler
};

// Where a model's parameters lie in its flat tensors.
FlatLayout layout_of(const StageChain& model);

// Flat parameters and gradients of a model, and the binding of the model's parameters to views of both, on
// `device`, where the model then works. Without gradients the model can only be evaluated. With a narrower type to
// compute in, the model's leaves are views of a copy in that type, in the same order of elements; gradients stay in the
// parameters' type.
struct FlatModel {
  FlatModel(StageChain& model, bool with_gradients, torch::Dtype compute = torch::kFloat32,
            torch::Device device = torch::kCPU);
  void initialize(StageChain& model, uint64_t seed);  // the same model

  FlatLayout layout;
  torch::Tensor parameters;       // (layout.numel) fp32
  torch::Tensor computed;         // (layout.numel) in the compute type; undefined when that is fp32
  torch::Tensor gradients;        // (layout.numel) fp32, or undefined
  std::vector<FlatRange> ranges;  // what decays and what does not; covers the tensor, neighbours differ
};

// XXH3-64 in hex over the parameters' bytes in table order without padding.
std::string weights_hash(const StageChain& model);

// Short texts for ranks to compare: of the parameters' names, shapes and stages, and of the buckets' places.
std::string describe_parameters(const StageChain& model);
std::string describe_buckets(const std::vector<Bucket>& buckets);

}  // namespace reprise
