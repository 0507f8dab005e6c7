#include "model/stage_chain.h"

#include <ATen/core/grad_mode.h>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "model/embedding.h"
#include "model/head.h"
#include "model/sub_block.h"

namespace reprise {
namespace {

// What the families differ in beside their activation.
struct FamilyTraits {
  bool norm_first;
  bool rms_norm;
  bool has_biases;
  bool learned_positions;  // else rotary
};

FamilyTraits traits_of(Family family) {
  switch (family) {
    case Family::gpt2:
      return {.norm_first = true, .rms_norm = false, .has_biases = true, .learned_positions = true};
    case Family::llama:
      return {.norm_first = true, .rms_norm = true, .has_biases = false, .learned_positions = false};
    case Family::postnorm:
      return {.norm_first = false, .rms_norm = false, .has_biases = true, .learned_positions = true};
  }
  throw std::invalid_argument("unknown model family");
}

// GPT-2's, Llama 2's and 3's, and torch.nn.TransformerEncoderLayer's alike.
constexpr double kEpsilon = 1e-5;
// Of GPT-2's (also its positions) and Llama's matrices, and of the post-norm family's embedding, for which its
// reference has none.
constexpr double kDeviation = 0.02;

// Describes the parameters in order of first use and makes the stages that hold them.
class Builder {
 public:
  Builder(const ModelConfig& config, ParameterTable& table)
      : config_(config), traits_(traits_of(config.family)), table_(table), last_stage_(2 * config.layers + 1) {
    if (!traits_.learned_positions) {
      rotary_ = std::make_shared<Rotary>(config.context, config.head_width(), config.rope_theta);
    }
  }

  std::unique_ptr<Stage> embedding() {
    token_ = vocabulary_matrix("embedding.token", {0});
    if (config_.tie_embeddings) token_->stages.push_back(last_stage_);
    Parameter* position = nullptr;
    if (traits_.learned_positions) {
      position = matrix("embedding.position", {config_.context, config_.width}, kDeviation);
    }
    ++stage_;
    return std::make_unique<Embedding>(token_, position, config_.context, config_.dropout);
  }

  std::unique_ptr<Stage> attention(int layer) {
    const std::string name = "layer" + std::to_string(layer) + ".attention";
    const int64_t width = config_.width, rows = (config_.heads + 2 * config_.kv_heads) * config_.head_width();
    SubBlockParts parts = begin_sub_block(name, DropoutSite::attention);
    parts.projections = {linear(name + ".qkv", rows, width)};
    parts.transform = make_attention(config_.heads, config_.kv_heads, /*causal=*/true, rotary_);
    return finish_sub_block(name, layer, std::move(parts), name + ".output", width);
  }

  std::unique_ptr<Stage> feed_forward(int layer) {
    const std::string name = "layer" + std::to_string(layer) + ".feed_forward";
    const int64_t width = config_.width, inner = config_.feed_forward;
    SubBlockParts parts = begin_sub_block(name, DropoutSite::feed_forward);
    if (config_.family == Family::llama) parts.projections.push_back(linear(name + ".gate", inner, width));
    parts.projections.push_back(linear(name + ".up", inner, width));
    parts.transform = activation();
    return finish_sub_block(name, layer, std::move(parts), name + ".down", inner);
  }

  std::unique_ptr<Stage> head() {
    std::optional<Norm> final_norm;
    if (traits_.norm_first) final_norm = norm("head.norm");
    Parameter* weight = config_.tie_embeddings ? token_ : vocabulary_matrix("head.weight", {last_stage_});
    return std::make_unique<Head>(final_norm, weight, config_.vocabulary, config_.head_chunk_tokens);
  }

 private:
  std::unique_ptr<Transform> activation() const {
    switch (config_.family) {
      case Family::gpt2:
        return make_gelu();
      case Family::llama:
        return make_swiglu();
      case Family::postnorm:
        return make_relu();
    }
    throw std::invalid_argument("unknown model family");
  }

  SubBlockParts begin_sub_block(const std::string& name, DropoutSite site) {
    SubBlockParts parts;
    parts.norm_first = traits_.norm_first;
    parts.dropout = {config_.dropout, site};
    parts.norm = norm(name + ".norm");
    return parts;
  }

  std::unique_ptr<Stage> finish_sub_block(const std::string& stage, int layer, SubBlockParts parts,
                                          const std::string& output, int64_t inputs) {
    parts.output = linear(output, config_.width, inputs, /*ends_residual_branch=*/true);
    ++stage_;
    return std::make_unique<SubBlock>(stage, layer, std::move(parts));
  }

  Norm norm(const std::string& name) {
    Parameter* weight = vector(name + ".weight", config_.width, Initializer::ones);
    Parameter* bias = traits_.rms_norm ? nullptr : vector(name + ".bias", config_.width, Initializer::zeros);
    return {weight, bias, kEpsilon};
  }

  Linear linear(const std::string& name, int64_t outputs, int64_t inputs, bool ends_residual_branch = false) {
    Parameter* weight = matrix(name + ".weight", {outputs, inputs}, deviation(outputs, inputs, ends_residual_branch));
    return {weight, traits_.has_biases ? vector(name + ".bias", outputs, Initializer::zeros) : nullptr};
  }

  // GPT-2 scales what ends in the residual stream by 1/√(residual branches); torch.nn.Transformer sets every matrix by
  // Xavier's rule, which is kept here with a normal instead of a uniform distribution.
  double deviation(int64_t outputs, int64_t inputs, bool ends_residual_branch) const {
    if (config_.family == Family::postnorm) return std::sqrt(2.0 / static_cast<double>(outputs + inputs));
    const bool is_scaled = config_.family == Family::gpt2 && ends_residual_branch;
    return is_scaled ? kDeviation / std::sqrt(2.0 * config_.layers) : kDeviation;
  }

  Parameter* matrix(const std::string& name, std::vector<int64_t> shape, double deviation) {
    Parameter parameter;
    parameter.name = name;
    parameter.shape = std::move(shape);
    parameter.initializer = Initializer::normal;
    parameter.deviation = deviation;
    parameter.decays = true;
    parameter.stages = {stage_};
    return table_.add(std::move(parameter));
  }

  Parameter* vocabulary_matrix(const std::string& name, std::vector<int> stages) {
    Parameter* parameter = matrix(name, {config_.padded_vocabulary(), config_.width}, kDeviation);
    parameter->live_rows = config_.vocabulary;
    parameter->stages = std::move(stages);
    return parameter;
  }

  Parameter* vector(const std::string& name, int64_t size, Initializer initializer) {
    Parameter parameter;
    parameter.name = name;
    parameter.shape = {size};
    parameter.initializer = initializer;
    parameter.stages = {stage_};
    return table_.add(std::move(parameter));
  }

  const ModelConfig& config_;
  const FamilyTraits traits_;
  ParameterTable& table_;
  const int last_stage_;
  int stage_ = 0;  // the one being built
  std::shared_ptr<const Rotary> rotary_;
  Parameter* token_ = nullptr;
};

}  // namespace

StageChain::StageChain(const ModelConfig& config) : config_(config.resolved()) {
  Builder builder(config_, parameters_);
  stages_.push_back(builder.embedding());
  for (int layer = 0; layer < config_.layers; ++layer) {
    stages_.push_back(builder.attention(layer));
    stages_.push_back(builder.feed_forward(layer));
  }
  stages_.push_back(builder.head());
}

torch::Tensor StageChain::next_token_logits(const torch::Tensor& tokens) const {
  const auto* head = dynamic_cast<const Head*>(stages_.back().get());
  if (!head) throw std::logic_error("this chain does not end in a head");
  const torch::NoGradGuard no_graph;
  StageContext context;
  torch::Tensor x = tokens;
  for (; context.stage + 1 < size(); ++context.stage) x = (*this)[context.stage].forward(x, context);
  return head->logits(x.select(1, -1));
}

}  // namespace reprise
