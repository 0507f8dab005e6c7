#pragma once

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <optional>
#include <vector>

#include "model/stage.h"
#include "model/stage_chain.h"

namespace reprise {

// A chain with storage of its own: one flat tensor of values, one of gradients, and, when it computes in another type,
// one of the values in that. Norm weights and biases get values of their own, so that no gradient hides behind a one or
// a zero.
struct BoundModel {
  explicit BoundModel(const ModelConfig& config, torch::Dtype dtype = torch::kFloat32, uint64_t seed = 7,
                      std::optional<torch::Dtype> compute = {}, torch::Device device = torch::kCPU)
      : chain(config) {
    ParameterTable& table = chain.parameters();
    int64_t total = 0;
    for (int i = 0; i < table.size(); ++i) total += table[i].numel();
    values = torch::zeros({total}, torch::TensorOptions(device).dtype(dtype));
    gradients = torch::zeros_like(values);
    computed = torch::zeros_like(values, compute.value_or(dtype));
    std::vector<torch::Tensor> value_views, gradient_views, copies;
    for (int64_t i = 0, offset = 0; i < table.size(); offset += table[static_cast<int>(i++)].numel()) {
      const Parameter& parameter = table[static_cast<int>(i)];
      value_views.push_back(values.narrow(0, offset, parameter.numel()).view(parameter.shape));
      gradient_views.push_back(gradients.narrow(0, offset, parameter.numel()).view(parameter.shape));
      if (compute) copies.push_back(computed.narrow(0, offset, parameter.numel()).view(parameter.shape));
    }
    table.bind(value_views, gradient_views, copies);
    table.initialize(seed);
    const torch::NoGradGuard no_graph;
    for (int i = 0; i < table.size(); ++i) {
      if (table[i].shape.size() == 1) table[i].master.add_(torch::randn(table[i].shape, dtype).to(device), 0.1);
    }
    computed.copy_(values);
  }

  StageChain chain;
  torch::Tensor values, gradients, computed;  // (numel)
};

inline Batch random_batch(const ModelConfig& config, int64_t sequences, int64_t positions) {
  Batch batch;
  batch.tokens = torch::randint(config.vocabulary, {sequences, positions}, torch::kInt64);
  batch.targets = torch::randint(config.vocabulary, {sequences, positions}, torch::kInt64);
  batch.step = 5;
  batch.first_sequence = 40;
  return batch;
}

inline StageContext context_of(const Batch& batch, int stage, SaveLevel save, double loss_scale) {
  StageContext context;
  context.seed = 11;
  context.step = batch.step;
  context.first_sequence = batch.first_sequence;
  context.stage = stage;
  context.training = true;
  context.save = save;
  context.targets = batch.targets;
  context.loss_scale = loss_scale;
  return context;
}

// Forward and backward, stage by stage with detached boundaries, in the manner of the executor. Returns the loss sum.
inline torch::Tensor run_stages(StageChain& chain, const Batch& batch, SaveLevel save = SaveLevel::all,
                                double loss_scale = 1.0) {
  std::vector<torch::Tensor> inputs{batch.tokens}, outputs;
  for (int s = 0; s < chain.size(); ++s) {
    outputs.push_back(chain[s].forward(inputs.back(), context_of(batch, s, save, loss_scale)));
    inputs.push_back(outputs.back().detach().set_requires_grad(true));
  }
  torch::Tensor grad = torch::ones({}, outputs.back().options());
  for (int s = chain.size() - 1; s >= 0; --s) {
    torch::autograd::backward({outputs[static_cast<size_t>(s)]}, {grad});
    if (s > 0) grad = inputs[static_cast<size_t>(s)].grad();
  }
  return outputs.back().detach();
}

inline ModelConfig small_model(Family family, double dropout = 0.0) {
  ModelConfig config;
  config.family = family;
  config.layers = 2;
  config.width = 24;
  config.heads = 4;
  config.kv_heads = family == Family::llama ? 2 : 0;
  config.feed_forward = 40;
  config.context = 10;
  config.dropout = dropout;
  config.vocabulary = 37;
  config.head_chunk_tokens = 8;
  return config;
}

inline const char* family_name(const testing::TestParamInfo<Family>& info) { return name_of(info.param); }

}  // namespace reprise
