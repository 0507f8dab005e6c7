// config.json of Hugging Face's models, to and from a ModelConfig.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "training/errors.h"
#include "training/hugging_face.h"
#include "training/input_file.h"

namespace reprise {
namespace {

using nlohmann::json;

// Layers, width, heads, feed-forward, context.
constexpr const char* kSizes[2][5] = {
    {"n_layer", "n_embd", "n_head", "n_inner", "n_positions"},
    {"num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings"}};

// What must hold, or be left out, for the function to be ours.
const json kFixed[2] = {
    {{"activation_function", "gelu_new"},
     {"layer_norm_epsilon", 1e-5},
     {"scale_attn_weights", true},
     {"scale_attn_by_inverse_layer_idx", false},
     {"add_cross_attention", false}},
    {{"hidden_act", "silu"}, {"rms_norm_eps", 1e-5}, {"attention_bias", false}, {"mlp_bias", false}}};
const json kOtherNames = {{"gelu_pytorch_tanh", "gelu_new"}, {"swish", "silu"}};
// What may only be nothing, false or empty; auto_map brings code of its own.
constexpr const char* kNever[] = {"quantization_config", "auto_map", "is_encoder_decoder", "pruned_heads",
                                  "partial_rotary_factor"};

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), config_(read_json(path, /*deepest=*/16)) {}

  ModelConfig read() const {
    const json type = value("model_type"), ties = value("tie_word_embeddings");
    if (type != "gpt2" && type != "llama") refuse("model_type", "\"gpt2\" or \"llama\"", type);
    const bool is_llama = type == "llama";
    check_function(is_llama);
    if (!ties.is_null() && !ties.is_boolean()) refuse("tie_word_embeddings", "true or false", ties);
    const auto& [layers, width, heads, feed_forward, context] = kSizes[is_llama];
    ModelConfig model{.family = is_llama ? Family::llama : Family::gpt2,
                      .layers = static_cast<int>(whole(layers)),
                      .width = whole(width),
                      .heads = whole(heads),
                      .kv_heads = is_llama ? whole("num_key_value_heads", 0) : 0,
                      .feed_forward = is_llama ? whole(feed_forward) : whole(feed_forward, 0),
                      .context = whole(context),
                      .vocabulary = whole("vocab_size"),
                      .tie_embeddings = ties.is_null() ? !is_llama : ties.get<bool>(),
                      .head_chunk_tokens = 0};
    if (is_llama) model.rope_theta = rope_theta();
    const int64_t head_width = whole("head_dim", model.head_width());
    if (head_width != model.head_width()) refuse("head_dim", std::to_string(model.head_width()), head_width);
    try {
      return model.resolved();
    } catch (const InvalidSetting& error) {
      throw DataError(fmt::format("{}: none of our models: {}: {}", path_, error.key(), error.what()));
    }
  }

 private:
  void check_function(bool is_llama) const {
    const std::string with_head = is_llama ? "LlamaForCausalLM" : "GPT2LMHeadModel";
    const json classes = value("architectures"), base = json::array({is_llama ? "LlamaModel" : "GPT2Model"});
    if (!classes.is_null() && classes != json::array({with_head}) && classes != base) {
      refuse("architectures", with_head, classes);
    }
    for (const char* key : kNever) {
      if (const json got = value(key); got != false && !got.empty()) refuse(key, "nothing", got);
    }
    for (const auto& [key, expected] : kFixed[is_llama].items()) {
      const json got = value(key), name = got.is_string() ? kOtherNames.value(got.get<std::string>(), got) : got;
      const bool may_miss = key != "rms_norm_eps";  // without it transformers takes 1e-6
      if (name != expected && !(may_miss && got.is_null())) refuse(key, expected.dump(), got);
    }
  }

  // In rope_parameters since transformers 5; before, under a key of its own with rope_scaling beside it.
  double rope_theta() const {
    json theta = value("rope_theta");
    for (const char* key : {"rope_parameters", "rope_scaling"}) {
      const json rope = value(key);
      if (!rope.is_null() && !rope.is_object()) refuse(key, "an object", rope);
      for (const auto& [name, got] : rope.items()) {
        const std::string place = fmt::format("{}.{}", key, name);
        if (name == "rope_theta") {
          if (!theta.is_null() && theta != got) refuse(place, "rope_theta's " + theta.dump(), got);
          theta = got;
        } else if (name == "rope_type" || name == "type") {
          if (got != "default") refuse(place, "\"default\"", got);
        } else if (name != "partial_rotary_factor" || got != 1) {
          refuse(place, "rope_type and rope_theta only", got);
        }
      }
    }
    if (!theta.is_null() && !theta.is_number()) refuse("rope_theta", "a number", theta);
    return theta.is_null() ? ModelConfig().rope_theta : theta.get<double>();
  }

  json value(const std::string& key) const { return config_.value(key, json()); }

  int64_t whole(const char* key, int64_t if_nothing = -1) const {
    constexpr int64_t kMost = int64_t{1} << 24;
    const json got = value(key);
    if (got.is_null() && if_nothing >= 0) return if_nothing;
    if (got.is_number_unsigned() && got >= 1 && got <= kMost) return got.get<int64_t>();
    refuse(key, fmt::format("a whole number from 1 to {}", kMost), got);
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& expected, const json& got) const {
    const std::string text = got.is_null() ? "nothing" : got.dump();
    throw DataError(fmt::format("{}: {}: expected {}, got {:.200}", path_, key, expected, text));
  }

  const std::string path_;
  const json config_;
};

}  // namespace

ModelConfig read_hugging_face_config(const std::string& path) { return Reader(path).read(); }

std::string hugging_face_config(const ModelConfig& config, std::optional<int64_t> end_of_document) {
  const bool is_llama = config.family == Family::llama;
  if (config.family == Family::postnorm) {
    throw DataError("transformers has no model of the family postnorm; gpt2 and llama can be exported");
  }
  if (!is_llama && config.kv_heads != config.heads) {
    throw DataError(fmt::format("transformers has no GPT-2 with grouped queries: expected model.kv_heads = {}, got {}",
                                config.heads, config.kv_heads));
  }
  json out = kFixed[is_llama];
  out["model_type"] = name_of(config.family);
  out["architectures"] = json::array({is_llama ? "LlamaForCausalLM" : "GPT2LMHeadModel"});
  const int64_t sizes[] = {config.layers, config.width, config.heads, config.feed_forward, config.context};
  for (size_t i = 0; i < std::size(sizes); ++i) out[kSizes[is_llama][i]] = sizes[i];
  if (is_llama) {
    out["num_key_value_heads"] = config.kv_heads;
    out["head_dim"] = config.head_width();
    out["rope_theta"] = config.rope_theta;
    out["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", config.rope_theta}};
  } else {
    out["attn_pdrop"] = 0.0;
    out["embd_pdrop"] = out["resid_pdrop"] = config.dropout;
  }
  out["vocab_size"] = config.vocabulary;
  out["tie_word_embeddings"] = config.tie_embeddings;
  // Said even when unknown: the library's own defaults are ids of other vocabularies.
  out["bos_token_id"] = out["eos_token_id"] = end_of_document ? json(*end_of_document) : json();
  out["torch_dtype"] = "float32";
  return out.dump(2) + "\n";
}

}  // namespace reprise
