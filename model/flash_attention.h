#pragma once

#include <torch/types.h>

#include <vector>

namespace reprise {

// Fused attention of one device, the only place that names its operator. Queries (B, T, H, D); keys and values (B, T,
// K, D) with K dividing H: query head h reads key head h·K/H. Rows of heads may be strided. Scale 1/√D.
struct Attended {
  torch::Tensor output;     // (B, T, H, D) contiguous
  torch::Tensor logsumexp;  // (B, H, T)
};

Attended flash_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, bool causal);

// Gradients of q, k and v, each contiguous in the shape of its input.
std::vector<torch::Tensor> flash_attention_backward(const torch::Tensor& grad, const torch::Tensor& q,
                                                    const torch::Tensor& k, const torch::Tensor& v,
                                                    const Attended& attended, bool causal);

}  // namespace reprise
