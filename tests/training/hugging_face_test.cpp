#include "training/hugging_face.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/scratch.h"
#include "training/errors.h"
#include "training/flat_model.h"

namespace reprise {
namespace {

using nlohmann::json;

// A random model of ours, written in Hugging Face's form; tests change one thing and read it.
class HuggingFaceTest : public testing::Test {
 protected:
  void make(Family family, bool ties = true) {
    ModelConfig config;
    config.family = family;
    config.layers = 2, config.width = 16, config.heads = 4, config.feed_forward = 24;
    config.kv_heads = family == Family::llama ? 2 : 4;
    config.context = 8, config.vocabulary = 70, config.tie_embeddings = ties;
    model_ = std::make_unique<StageChain>(config);
    weights_ = std::make_unique<FlatModel>(*model_, false);
    model_->parameters().initialize(3);
    config_ = json::parse(hugging_face_config(model_->config(), {}));
    tensors_ = hugging_face_tensors(*model_);
  }

  HuggingFaceModel read() const {
    put(folder_ / "config.json", config_.dump());
    write_safetensors(folder_ / "model.safetensors", tensors_, {});
    return read_hugging_face(folder_.path());
  }
  std::string error() const {
    return message_of<DataError>([&] { read(); });
  }
  std::string error_with(const std::string& key, const json& value) {
    const json before = config_;
    config_[key] = value;
    const std::string message = error();
    config_ = before;
    return message;
  }
  bool is_ours(const HuggingFaceModel& read_back) const {
    const ParameterTable& parameters = model_->parameters();
    bool equal = static_cast<int>(read_back.parameters.size()) == parameters.size();
    for (int i = 0; equal && i < parameters.size(); ++i) {
      const NamedTensor& found = read_back.parameters[static_cast<size_t>(i)];
      equal = found.name == parameters[i].name && found.tensor.equal(parameters[i].master);
    }
    return equal;
  }
  NamedTensor& tensor(const std::string& name) { return *std::ranges::find(tensors_, name, &NamedTensor::name); }

  const Scratch folder_;
  std::unique_ptr<StageChain> model_;
  std::unique_ptr<FlatModel> weights_;
  json config_;
  std::vector<NamedTensor> tensors_;
};

TEST_F(HuggingFaceTest, EveryFormComesBack) {
  for (const Family family : {Family::gpt2, Family::llama}) {
    for (const bool ties : {true, false}) {
      make(family, ties);
      const HuggingFaceModel back = read();
      EXPECT_TRUE(is_ours(back)) << name_of(family) << ties;
      EXPECT_EQ(back.config.vocabulary, 70);
      EXPECT_EQ(back.config.kv_heads, model_->config().kv_heads);
      EXPECT_EQ(back.config.feed_forward, 24);
      EXPECT_EQ(back.config.context, 8);
      EXPECT_EQ(back.config.tie_embeddings, ties);
    }
  }
}

TEST_F(HuggingFaceTest, NamesMayLackTheirPrefixAndConstantsArePassedOver) {
  make(Family::gpt2);
  for (NamedTensor& named : tensors_) named.name = named.name.substr(std::string("transformer.").size());
  tensors_.push_back({"h.0.attn.bias", torch::ones({1, 1, 8, 8}, torch::kUInt8)});
  tensors_.push_back({"h.1.attn.masked_bias", torch::tensor(-1e4f)});
  EXPECT_TRUE(is_ours(read()));
  make(Family::llama);
  for (NamedTensor& named : tensors_) named.name = named.name.substr(std::string("model.").size());
  tensors_.push_back({"layers.0.self_attn.rotary_emb.inv_freq", torch::ones({2})});
  EXPECT_TRUE(is_ours(read()));
}

TEST_F(HuggingFaceTest, ATiedHeadMayBeThereWhenItIsTheEmbedding) {
  make(Family::gpt2);
  tensors_.push_back({"lm_head.weight", tensor("transformer.wte.weight").tensor.clone()});
  EXPECT_TRUE(is_ours(read()));
  tensors_.back().tensor[0][0] += 1;
  EXPECT_TRUE(has(error(), "expected lm_head.weight to equal transformer.wte.weight")) << error();
}

TEST_F(HuggingFaceTest, NarrowWeightsAreWidened) {
  make(Family::llama);
  for (NamedTensor& named : tensors_) named.tensor = named.tensor.to(torch::kFloat16);
  const HuggingFaceModel back = read();
  EXPECT_EQ(back.parameters[0].tensor.scalar_type(), torch::kFloat32);
  EXPECT_TRUE(back.parameters[0].tensor.equal(model_->parameters()[0].master.to(torch::kFloat16)));
}

TEST_F(HuggingFaceTest, TellsEveryTensorThatIsWrongInOneLine) {
  make(Family::gpt2);
  tensor("transformer.wpe.weight").name = "transformer.stranger";
  tensor("transformer.h.1.mlp.c_fc.weight").tensor = torch::zeros({24, 16});
  tensor("transformer.ln_f.bias").tensor = torch::zeros({16}, torch::kInt64);
  const std::string message = error();
  for (const char* part :
       {"transformer.wpe.weight is missing", "transformer.stranger is unexpected",
        "c_fc.weight: expected fp32, fp16 or bf16 of shape 16x24, got Float of shape 24x16", "got Long of shape 16"}) {
    EXPECT_TRUE(has(message, part)) << part << " not in " << message;
  }
  EXPECT_FALSE(has(message, "\n"));
}

TEST_F(HuggingFaceTest, BothNamesOfOneTensorAreOneTooMany) {
  make(Family::gpt2);
  tensors_.push_back({"wte.weight", tensor("transformer.wte.weight").tensor.clone()});
  EXPECT_TRUE(has(error(), ": wte.weight is unexpected")) << error();
}

TEST_F(HuggingFaceTest, RefusesByNameWhatWouldMakeAnotherFunction) {
  make(Family::gpt2);
  const std::vector<std::pair<std::string, json>> gpt2 = {{"model_type", "gpt_neo"},
                                                          {"architectures", {"GPT2ForSequenceClassification"}},
                                                          {"activation_function", "relu"},
                                                          {"layer_norm_epsilon", 1e-6},
                                                          {"scale_attn_weights", false},
                                                          {"scale_attn_by_inverse_layer_idx", true},
                                                          {"add_cross_attention", true},
                                                          {"is_encoder_decoder", true},
                                                          {"quantization_config", {{"bits", 4}}},
                                                          {"auto_map", {{"AutoModel", "x.Y"}}},
                                                          {"pruned_heads", {{"0", {1}}}},
                                                          {"tie_word_embeddings", 1},
                                                          {"n_layer", nullptr},
                                                          {"n_layer", 0},
                                                          {"n_embd", -4},
                                                          {"n_head", 1.5},
                                                          {"vocab_size", "many"},
                                                          {"n_positions", 1e30}};
  for (const auto& [key, value] : gpt2) {
    const std::string message = error_with(key, value);
    EXPECT_TRUE(has(message, "config.json: " + key + ": expected ")) << message;
  }
  make(Family::llama);
  const std::vector<std::pair<std::string, json>> llama = {{"hidden_act", "gelu"},
                                                           {"rms_norm_eps", 1e-6},
                                                           {"rms_norm_eps", nullptr},
                                                           {"attention_bias", true},
                                                           {"mlp_bias", true},
                                                           {"head_dim", 8},
                                                           {"rope_parameters", 3},
                                                           {"partial_rotary_factor", 0.5},
                                                           {"intermediate_size", nullptr}};
  for (const auto& [key, value] : llama) {
    const std::string message = error_with(key, value);
    EXPECT_TRUE(has(message, "config.json: " + key + ": expected ")) << message;
  }
  EXPECT_TRUE(has(error_with("num_attention_heads", 5), "head_dim: expected 3, got 4"));
}

TEST_F(HuggingFaceTest, RotaryAnglesOfBothGenerations) {
  make(Family::llama);
  const auto theta = [&](const json& own, const json& parameters, const json& scaling) {
    config_["rope_theta"] = own;
    config_["rope_parameters"] = parameters;
    config_["rope_scaling"] = scaling;
    return read().config.rope_theta;
  };
  const json none;
  EXPECT_EQ(theta(none, none, none), 10000.0);
  EXPECT_EQ(theta(500000, none, none), 500000.0);
  EXPECT_EQ(theta(none, {{"rope_theta", 5e5}, {"rope_type", "default"}}, none), 5e5);
  EXPECT_EQ(theta(5e5, {{"rope_theta", 5e5}}, none), 5e5);
  EXPECT_EQ(theta(2e4, none, {{"type", "default"}}), 2e4);
  const auto refusal = [&](const json& own, const json& parameters, const json& scaling) {
    return message_of<DataError>([&] { theta(own, parameters, scaling); });
  };
  for (const char* type : {"linear", "dynamic", "yarn", "longrope", "llama3"}) {
    EXPECT_TRUE(has(refusal(none, {{"rope_type", type}}, none), "rope_parameters.rope_type: expected \"default\""));
    EXPECT_TRUE(has(refusal(none, none, {{"type", type}, {"factor", 2.0}}), "rope_scaling."));
  }
  EXPECT_TRUE(has(refusal(1e4, {{"rope_theta", 5e5}}, none), "expected rope_theta's 10000.0"));
  EXPECT_TRUE(has(refusal(none, {{"full_attention", {{"rope_theta", 1}}}}, none), "rope_parameters.full_attention"));
  EXPECT_TRUE(has(refusal("1e4", none, none), "rope_theta: expected a number"));
  EXPECT_TRUE(has(refusal(0.5, none, none), "none of our models: model.rope_theta"));
}

TEST_F(HuggingFaceTest, TakesAFileAndSaysWhatAFolderLacks) {
  make(Family::gpt2);
  read();
  EXPECT_TRUE(is_ours(read_hugging_face(folder_ / "model.safetensors")));
  const auto message = [&] { return message_of<DataError>([&] { read_hugging_face(folder_.path()); }); };
  std::filesystem::remove(folder_ / "config.json");
  EXPECT_TRUE(has(message(), "config.json: cannot be read")) << message();
  put(folder_ / "config.json", "[]");
  EXPECT_TRUE(has(message(), "config.json: expected a JSON object")) << message();
  std::filesystem::remove(folder_ / "model.safetensors");
  const std::string nowhere = folder_ / "nowhere";
  EXPECT_EQ(message_of<DataError>([&] { read_hugging_face(nowhere); }),
            nowhere + ": expected a model's folder or file, got nothing");
  EXPECT_TRUE(has(message(), "expected model.safetensors or model.safetensors.index.json, got neither")) << message();
}

TEST(HuggingFaceConfig, SaysWhatGenerationMayStartFrom) {
  const ModelConfig config = ModelConfig().resolved();
  const json known = json::parse(hugging_face_config(config, 256)),
             unknown = json::parse(hugging_face_config(config, {}));
  EXPECT_EQ(known["eos_token_id"], 256);
  EXPECT_EQ(known["bos_token_id"], 256);
  EXPECT_TRUE(unknown.contains("eos_token_id") && unknown["eos_token_id"].is_null());
}

TEST(HuggingFaceConfig, RefusesModelsThatTransformersLacks) {
  ModelConfig config;
  config.family = Family::postnorm;
  EXPECT_TRUE(has(message_of<DataError>([&] { hugging_face_config(config.resolved(), {}); }), "postnorm"));
  config.family = Family::gpt2;
  config.kv_heads = 2;
  EXPECT_TRUE(
      has(message_of<DataError>([&] { hugging_face_config(config.resolved(), {}); }), "model.kv_heads = 4, got 2"));
}

}  // namespace
}  // namespace reprise
