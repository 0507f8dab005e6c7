#include "training/hugging_face.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "training/errors.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;
using Tensors = std::map<std::string, torch::Tensor>;

// Names without .weight and .bias; {} is the layer. Of several, the rows stand one below the other.
struct Names {
  std::string_view ours, gpt2, llama;
};
constexpr Names kNames[] = {
    {"embedding.token", "transformer.wte", "model.embed_tokens"},
    {"embedding.position", "transformer.wpe", ""},
    {"attention.norm", "transformer.h.{}.ln_1", "model.layers.{}.input_layernorm"},
    {"attention.qkv", "transformer.h.{}.attn.c_attn",
     "model.layers.{0}.self_attn.q_proj model.layers.{0}.self_attn.k_proj model.layers.{0}.self_attn.v_proj"},
    {"attention.output", "transformer.h.{}.attn.c_proj", "model.layers.{}.self_attn.o_proj"},
    {"feed_forward.norm", "transformer.h.{}.ln_2", "model.layers.{}.post_attention_layernorm"},
    {"feed_forward.gate", "", "model.layers.{}.mlp.gate_proj"},
    {"feed_forward.up", "transformer.h.{}.mlp.c_fc", "model.layers.{}.mlp.up_proj"},
    {"feed_forward.down", "transformer.h.{}.mlp.c_proj", "model.layers.{}.mlp.down_proj"},
    {"head.norm", "transformer.ln_f", "model.norm"},
    {"head", "lm_head", "lm_head"},
};
constexpr const char* kHead = "lm_head.weight";

// What one of our parameters is there.
struct Counterpart {
  std::vector<ExpectedTensor> tensors;  // their rows, one below the other, are its live rows
  std::vector<int64_t> rows;            // of each
  bool is_transposed;                   // they are (in, out)
};

Counterpart counterpart_of(const Parameter& ours, const ModelConfig& config) {
  std::string_view name = ours.name, suffix = ".weight", layer;
  if (name.starts_with("layer")) {
    layer = name.substr(5, name.find('.') - 5);
    name.remove_prefix(5 + layer.size() + 1);
  }
  if (name.ends_with(".weight") || name.ends_with(".bias")) {
    suffix = name.substr(name.rfind('.'));
    name.remove_suffix(suffix.size());
  }
  const bool is_gpt2 = config.family == Family::gpt2;
  Counterpart theirs{{}, {ours.live_rows}, is_gpt2 && !layer.empty() && ours.shape.size() == 2};
  const Names& names = *std::ranges::find(kNames, name, &Names::ours);
  std::istringstream patterns{std::string(is_gpt2 ? names.gpt2 : names.llama)};
  for (std::string pattern; patterns >> pattern;) {
    theirs.tensors.push_back({fmt::format(fmt::runtime(pattern), layer).append(suffix), ours.shape});
  }
  if (theirs.tensors.size() > 1) {
    const int64_t kv_rows = config.kv_heads * config.head_width();
    theirs.rows = {config.width, kv_rows, kv_rows};
  }
  for (size_t i = 0; i < theirs.rows.size(); ++i) {
    std::vector<int64_t>& shape = theirs.tensors[i].shape;
    shape[0] = theirs.rows[i];
    if (theirs.is_transposed) std::swap(shape[0], shape[1]);
  }
  return theirs;
}

// The folder of a model, and its weights in there.
std::pair<fs::path, std::string> files_of(const std::string& path) {
  if (!fs::exists(path)) throw DataError(path + ": expected a model's folder or file, got nothing");
  if (!fs::is_directory(path)) return {fs::path(path).parent_path(), path};
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if (fs::exists(fs::path(path) / name)) return {path, (fs::path(path) / name).string()};
  }
  throw DataError(path + ": expected model.safetensors or model.safetensors.index.json, got neither; from any other " +
                  "form let transformers make it: save_pretrained()");
}

// Under full names, without the constants that old files hold.
Tensors normalised(const Tensors& read, Family family) {
  const std::string prefix = family == Family::gpt2 ? "transformer." : "model.";
  Tensors tensors;
  for (const auto& [name, tensor] : read) {
    const bool is_constant = family == Family::gpt2 ? name.ends_with(".attn.bias") || name.ends_with(".masked_bias")
                                                    : name.ends_with("rotary_emb.inv_freq");
    if (is_constant) continue;
    const bool is_full = name.starts_with(prefix) || name == kHead || read.contains(prefix + name);
    tensors.emplace(is_full ? name : prefix + name, tensor);
  }
  return tensors;
}

// A tied head may be in the file all the same; where it differs, transformers would not tie it.
void drop_tied_head(Tensors& tensors, const std::string& token_name, const std::string& path) {
  const auto head = tensors.find(kHead), token = tensors.find(token_name);
  if (head == tensors.end() || token == tensors.end()) return;
  if (head->second.dtype() != token->second.dtype() || !head->second.equal(token->second)) {
    throw DataError(fmt::format("{}: expected {} to equal {} as tie_word_embeddings says, got other values", path,
                                kHead, token_name));
  }
  tensors.erase(head);
}

torch::Tensor joined(const Counterpart& theirs, const Parameter& ours, const Tensors& tensors) {
  std::vector<torch::Tensor> rows;
  for (const ExpectedTensor& each : theirs.tensors) {
    const torch::Tensor tensor = tensors.at(each.name).to(torch::kFloat32);
    rows.push_back(theirs.is_transposed ? tensor.t() : tensor);
  }
  if (ours.live_rows < ours.shape[0]) rows.push_back(torch::zeros({ours.shape[0] - ours.live_rows, ours.shape[1]}));
  return rows.size() == 1 ? rows[0].contiguous() : torch::cat(rows);
}

}  // namespace

HuggingFaceModel read_hugging_face(const std::string& path) {
  const auto [folder, weights] = files_of(path);
  HuggingFaceModel result{read_hugging_face_config((folder / "config.json").string()), {}};
  const StageChain model(result.config);
  std::vector<Counterpart> counterparts;
  std::vector<ExpectedTensor> expected;
  for (int i = 0; i < model.parameters().size(); ++i) {
    const std::vector<ExpectedTensor>& theirs =
        counterparts.emplace_back(counterpart_of(model.parameters()[i], result.config)).tensors;
    expected.insert(expected.end(), theirs.begin(), theirs.end());
  }
  Tensors tensors = normalised(read_safetensors(weights).tensors, result.config.family);
  if (result.config.tie_embeddings) drop_tied_head(tensors, expected[0].name, weights);
  require_tensors(weights, tensors, expected);
  for (int i = 0; i < model.parameters().size(); ++i) {
    const Parameter& ours = model.parameters()[i];
    result.parameters.push_back({ours.name, joined(counterparts[static_cast<size_t>(i)], ours, tensors)});
  }
  return result;
}

std::vector<NamedTensor> hugging_face_tensors(const StageChain& model) {
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < model.parameters().size(); ++i) {
    const Parameter& ours = model.parameters()[i];
    const Counterpart theirs = counterpart_of(ours, model.config());
    const std::vector<torch::Tensor> rows =
        ours.master.detach().cpu().narrow(0, 0, ours.live_rows).split_with_sizes(theirs.rows);
    for (size_t part = 0; part < rows.size(); ++part) {
      tensors.push_back({theirs.tensors[part].name, (theirs.is_transposed ? rows[part].t() : rows[part]).contiguous()});
    }
  }
  return tensors;
}

}  // namespace reprise
