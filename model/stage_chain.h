#pragma once

#include <torch/types.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "model/model_config.h"
#include "model/parameter.h"
#include "model/stage.h"

namespace reprise {

// The positions of B sequences that a model has seen one part after the other: what attention wants to know of them.
struct KeyValueCache {
  int64_t positions = 0;  // setting it to 0 forgets them
  torch::Tensor layers;   // (layers, 2, B, K, context, D), made by the first use
};

// A model: stages embedding, then attention and feed_forward per layer, then head; and the table of their parameters.
class StageChain {
 public:
  explicit StageChain(const ModelConfig& config);  // parameters are described but not bound
  // Any stages, for what runs chains without caring what they compute; config() is the default one.
  StageChain(std::vector<std::unique_ptr<Stage>> stages, ParameterTable parameters)
      : parameters_(std::move(parameters)), stages_(std::move(stages)) {}

  int size() const { return static_cast<int>(stages_.size()); }
  int points() const { return 2 * size(); }  // of a backward (Parameter::final_point)
  Stage& operator[](int s) const { return *stages_[static_cast<size_t>(s)]; }
  const ModelConfig& config() const { return config_; }
  ParameterTable& parameters() { return parameters_; }
  // Of the bound parameters, hence of all work; the CPU when there are none.
  torch::Device device() const {
    return parameters_.size() > 0 && parameters_[0].value.defined() ? parameters_[0].value.device() : torch::kCPU;
  }
  const ParameterTable& parameters() const { return parameters_; }

  // Random inputs and targets of the objective on the parameters' device, real ones in the type of the last parameter,
  // which is the one that the model computes in. Bound models only. Without a generator, LibTorch's own.
  Batch random_batch(int64_t sequences, int64_t tokens, std::optional<at::Generator> generator = {}) const;

  // Logits of the last position only: tokens (B, T) int64 → (B, vocabulary); padding columns are cut off.
  // No graph, no dropout. With a cache the tokens follow the positions in it and are added: any number while it is
  // empty, then one at a time (else std::invalid_argument). The logits are those of the whole sequence up to rounding:
  // products of one row add in another order than those of many.
  torch::Tensor next_token_logits(const torch::Tensor& tokens, KeyValueCache* cache = nullptr) const;

 private:
  ModelConfig config_;
  ParameterTable parameters_;
  std::vector<std::unique_ptr<Stage>> stages_;
};

}  // namespace reprise
