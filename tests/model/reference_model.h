#pragma once

#include <torch/autograd.h>
#include <torch/types.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "model/model_config.h"
#include "model/parameter.h"
#include "model/philox.h"
#include "tests/model/bound_model.h"

namespace reprise {

// The three families written once more with LibTorch's plain functions and plain autograd, in double precision: an
// explicit softmax for attention, one cross-entropy over all logits, masks element by element. Shares only parameter
// values and the formula of the mask with the model under test.
class ReferenceModel {
 public:
  ReferenceModel(const ModelConfig& config, const ParameterTable& table) : config_(config.resolved()) {
    for (int i = 0; i < table.size(); ++i) {
      weights_[table[i].name] = table[i].value.detach().to(torch::kFloat64, false, true).set_requires_grad(true);
    }
  }

  torch::Tensor grad(const std::string& name) const { return weights_.at(name).grad(); }

  torch::Tensor loss(const Batch& batch) const {
    using torch::Tensor;
    Tensor x = is_regression() ? batch.tokens : embedding(batch);  // (B, T, C)
    for (int layer = 0; layer < config_.layers; ++layer) {
      const std::string name = "layer" + std::to_string(layer);
      x = residual(x, name + ".attention", batch, 1 + 2 * layer, 1);
      x = residual(x, name + ".feed_forward", batch, 2 + 2 * layer, 2);
    }
    if (is_regression()) return (x - batch.targets).square().mean(-1).sum();
    if (config_.family != Family::postnorm) x = norm(x, "head.norm");
    const Tensor head = config_.tie_embeddings ? at("embedding.token") : at("head.weight");
    const Tensor logits = x.flatten(0, 1).matmul(head.slice(0, 0, config_.vocabulary).t());  // (B·T, V)
    return at::cross_entropy_loss(logits, batch.targets.flatten(), {}, at::Reduction::Sum);
  }

 private:
  bool is_llama() const { return config_.family == Family::llama; }
  bool is_regression() const { return config_.objective == Objective::regression; }
  const torch::Tensor& at(const std::string& name) const { return weights_.at(name); }

  torch::Tensor embedding(const Batch& batch) const {
    torch::Tensor x = at::embedding(at("embedding.token"), batch.tokens);
    if (!is_llama()) x = x + at("embedding.position").slice(0, 0, x.size(1));
    return dropped(x, batch, 0, 0);
  }

  torch::Tensor residual(const torch::Tensor& x, const std::string& name, const Batch& batch, int stage,
                         uint32_t site) const {
    const auto branch = [&](const torch::Tensor& h) { return site == 1 ? attention(h, name) : feed_forward(h, name); };
    if (config_.family == Family::postnorm) return norm(x + dropped(branch(x), batch, stage, site), name + ".norm");
    return x + dropped(branch(norm(x, name + ".norm")), batch, stage, site);
  }

  torch::Tensor norm(const torch::Tensor& x, const std::string& name) const {
    if (!is_llama()) return at::layer_norm(x, {x.size(-1)}, at(name + ".weight"), at(name + ".bias"), 1e-5);
    return x / (x.pow(2).mean(-1, true) + 1e-5).sqrt() * at(name + ".weight");
  }

  torch::Tensor linear(const torch::Tensor& x, const std::string& name) const {
    const torch::Tensor y = x.matmul(at(name + ".weight").t());
    return is_llama() ? y : y + at(name + ".bias");
  }

  torch::Tensor attention(const torch::Tensor& h, const std::string& name) const {
    using torch::Tensor;
    const int64_t B = h.size(0), T = h.size(1), H = config_.heads, K = config_.kv_heads, D = config_.head_width();
    const std::vector<Tensor> qkv = linear(h, name + ".qkv").split_with_sizes({H * D, K * D, K * D}, 2);
    Tensor q = qkv[0].view({B, T, H, D}).transpose(1, 2), k = qkv[1].view({B, T, K, D}).transpose(1, 2);
    Tensor v = qkv[2].view({B, T, K, D}).transpose(1, 2).repeat_interleave(H / K, 1);
    if (is_llama()) {
      q = rotated(q);
      k = rotated(k);
    }
    k = k.repeat_interleave(H / K, 1);
    Tensor scores = q.matmul(k.transpose(2, 3)) / std::sqrt(static_cast<double>(D));  // (B, H, T, T)
    const Tensor future = torch::ones({T, T}, torch::kBool).triu(1);
    if (!is_regression()) scores = scores.masked_fill(future, -std::numeric_limits<double>::infinity());
    return linear(scores.softmax(-1).matmul(v).transpose(1, 2).reshape({B, T, H * D}), name + ".output");
  }

  // Pair (i, i + D/2) as one complex number, turned by t · theta^(−2i/D).
  torch::Tensor rotated(const torch::Tensor& heads) const {  // (B, H, T, D)
    const int64_t T = heads.size(2), half = heads.size(3) / 2;
    const torch::Tensor i = torch::arange(half, torch::kFloat64), t = torch::arange(T, torch::kFloat64);
    const torch::Tensor angle = t.unsqueeze(1) * at::pow(config_.rope_theta, -i / static_cast<double>(half));
    const torch::Tensor pair = at::complex(heads.slice(3, 0, half), heads.slice(3, half));
    const torch::Tensor turned = pair * at::polar(torch::ones_like(angle), angle);
    return at::cat({at::real(turned), at::imag(turned)}, 3);
  }

  torch::Tensor feed_forward(const torch::Tensor& h, const std::string& name) const {
    const torch::Tensor up = linear(h, name + ".up");
    switch (config_.family) {
      case Family::gpt2:
        return linear(at::gelu(up, "tanh"), name + ".down");
      case Family::llama:
        return linear(at::silu(linear(h, name + ".gate")) * up, name + ".down");
      case Family::postnorm:
        return linear(at::relu(up), name + ".down");
    }
    return {};
  }

  torch::Tensor dropped(const torch::Tensor& x, const Batch& batch, int stage, uint32_t site) const {
    if (config_.dropout == 0.0) return x;
    torch::Tensor mask = torch::empty_like(x);
    const int64_t elements = x.size(1) * x.size(2);
    double* out = mask.mutable_data_ptr<double>();
    for (int64_t b = 0; b < x.size(0); ++b) {
      const DropoutAddress address = dropout_address(11, batch.step, batch.first_sequence + b, stage, site);
      for (int64_t e = 0; e < elements; ++e) {
        const uint32_t word = dropout_words(address, static_cast<uint32_t>(e / 4))[static_cast<size_t>(e % 4)];
        *out++ = word / 4294967296.0 < config_.dropout ? 0.0 : 1.0 / (1.0 - config_.dropout);
      }
    }
    return x * mask;
  }

  ModelConfig config_;
  std::map<std::string, torch::Tensor> weights_;
};

}  // namespace reprise
