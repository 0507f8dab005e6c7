#include "model/stage_chain.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <stdexcept>
#include <string>

#include "model/embedding.h"
#include "model/head.h"
#include "model/sub_block.h"

namespace reprise {
namespace {

// What the families differ in.
struct FamilyTraits {
  bool norm_first, rms_norm, has_biases;
  bool learned_positions;  // else rotary
  bool has_gate;           // a second projection in front of the activation
  std::unique_ptr<Transform> (*make_activation)();
};

FamilyTraits traits_of(Family family) {
  switch (family) {
    case Family::gpt2:
      return {.norm_first = true, .has_biases = true, .learned_positions = true, .make_activation = make_gelu};
    case Family::llama:
      return {.norm_first = true, .rms_norm = true, .has_gate = true, .make_activation = make_swiglu};
    case Family::postnorm:
      return {.has_biases = true, .learned_positions = true, .make_activation = make_relu};
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
    Parameter* position = nullptr;
    if (!is_regression()) token_ = vocabulary_matrix("embedding.token", {0});
    if (token_ && config_.tie_embeddings) token_->stages.push_back(last_stage_);
    if (token_ && traits_.learned_positions) {
      position = matrix("embedding.position", {config_.context, config_.width}, kDeviation);
    }
    ++stage_;
    return std::make_unique<Embedding>(token_, position, config_.context, config_.dropout);
  }

  std::unique_ptr<Stage> attention(int layer) {
    const std::string name = fmt::format("layer{}.attention", layer);
    const int64_t width = config_.width, rows = (config_.heads + 2 * config_.kv_heads) * config_.head_width();
    return sub_block(name, layer,
                     {.norm_first = traits_.norm_first,
                      .norm = norm(name + ".norm"),
                      .projections = {linear(name + ".qkv", rows, width)},
                      .transform = make_attention(config_.heads, config_.kv_heads, rotary_, !is_regression()),
                      .output = linear(name + ".output", width, width, /*ends_residual_branch=*/true),
                      .dropout = {config_.dropout, DropoutSite::attention}});
  }

  std::unique_ptr<Stage> feed_forward(int layer) {
    const std::string name = fmt::format("layer{}.feed_forward", layer);
    const int64_t width = config_.width, inner = config_.feed_forward;
    SubBlockParts parts{.norm_first = traits_.norm_first, .norm = norm(name + ".norm")};
    if (traits_.has_gate) parts.projections.push_back(linear(name + ".gate", inner, width));
    parts.projections.push_back(linear(name + ".up", inner, width));
    parts.transform = traits_.make_activation();
    parts.output = linear(name + ".down", width, inner, /*ends_residual_branch=*/true);
    parts.dropout = {config_.dropout, DropoutSite::feed_forward};
    return sub_block(name, layer, std::move(parts));
  }

  std::unique_ptr<Stage> head() {
    std::optional<Norm> final_norm;
    if (traits_.norm_first) final_norm = norm("head.norm");
    Parameter* weight =
        config_.tie_embeddings || is_regression() ? token_ : vocabulary_matrix("head.weight", {last_stage_});
    return std::make_unique<Head>(final_norm, weight, config_.vocabulary, config_.head_chunk_tokens);
  }

 private:
  bool is_regression() const { return config_.objective == Objective::regression; }

  std::unique_ptr<Stage> sub_block(const std::string& name, int layer, SubBlockParts parts) {
    ++stage_;
    return std::make_unique<SubBlock>(name, layer, std::move(parts));
  }

  Norm norm(const std::string& name) {
    Parameter* weight = vector(name + ".weight", config_.width, 1, /*is_wide=*/true);
    Parameter* bias = traits_.rms_norm ? nullptr : vector(name + ".bias", config_.width, 0, /*is_wide=*/true);
    return {weight, bias, kEpsilon};
  }

  Linear linear(const std::string& name, int64_t outputs, int64_t inputs, bool ends_residual_branch = false) {
    Parameter* weight = matrix(name + ".weight", {outputs, inputs}, deviation(outputs, inputs, ends_residual_branch));
    Parameter* bias = traits_.has_biases ? vector(name + ".bias", outputs, 0) : nullptr;
    weight->is_early = ends_residual_branch;
    if (bias) bias->is_early = ends_residual_branch;
    return {weight, bias};
  }

  // GPT-2 scales what ends in the residual stream by 1/√(residual branches); torch.nn.Transformer sets every matrix by
  // Xavier's rule, which is kept here with a normal instead of a uniform distribution.
  double deviation(int64_t outputs, int64_t inputs, bool ends_residual_branch) const {
    if (config_.family == Family::postnorm) return std::sqrt(2.0 / static_cast<double>(outputs + inputs));
    const bool is_scaled = config_.family == Family::gpt2 && ends_residual_branch;
    return is_scaled ? kDeviation / std::sqrt(2.0 * config_.layers) : kDeviation;
  }

  Parameter* matrix(const std::string& name, std::vector<int64_t> shape, double deviation) {
    return table_.add(
        {.name = name, .shape = std::move(shape), .deviation = deviation, .decays = true, .stages = {stage_}});
  }

  Parameter* vocabulary_matrix(const std::string& name, std::vector<int> stages) {
    return table_.add({.name = name,
                       .shape = {config_.padded_vocabulary(), config_.width},
                       .deviation = kDeviation,
                       .live_rows = config_.vocabulary,
                       .decays = true,
                       .stages = std::move(stages)});
  }

  Parameter* vector(const std::string& name, int64_t size, double initial, bool is_wide = false) {
    return table_.add({.name = name, .shape = {size}, .initial = initial, .is_wide = is_wide, .stages = {stage_}});
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

Batch StageChain::random_batch(int64_t sequences, int64_t tokens, std::optional<at::Generator> generator) const {
  const torch::ScalarType real = parameters_[parameters_.size() - 1].value.scalar_type();
  const auto draw = [&] {  // on the CPU: the same numbers whatever the device
    const torch::Tensor drawn = config_.objective == Objective::regression
                                    ? at::randn({sequences, tokens, config_.width}, generator, real)
                                    : at::randint(config_.vocabulary, {sequences, tokens}, generator, torch::kInt64);
    return drawn.to(device());
  };
  return {.tokens = draw(), .targets = draw()};
}

torch::Tensor StageChain::next_token_logits(const torch::Tensor& tokens, KeyValueCache* cache) const {
  const auto* head = dynamic_cast<const Head*>(stages_.back().get());
  if (!head || config_.objective != Objective::next_token) throw std::logic_error("this chain predicts no tokens");
  const torch::NoGradGuard no_graph;
  StageContext context{.first_position = cache ? cache->positions : 0};
  if (context.first_position > 0 && tokens.size(1) != 1) throw std::invalid_argument("a cache goes on token by token");
  if (cache && !cache->layers.defined()) {
    cache->layers =
        at::empty({config_.layers, 2, tokens.size(0), config_.kv_heads, config_.context, config_.head_width()},
                  parameters_[0].value.options());
  }
  torch::Tensor x = tokens;
  for (; context.stage + 1 < size(); ++context.stage) {
    Stage& stage = (*this)[context.stage];
    if (cache && stage.layer >= 0) context.keys_values = cache->layers[stage.layer];
    x = stage.forward(x, context);
  }
  if (cache) cache->positions += tokens.size(1);
  return head->logits(x.select(1, -1));
}

}  // namespace reprise
