#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/stage_chain.h"
#include "training/safetensors.h"

namespace reprise {

// Models as Hugging Face's transformers keeps them: config.json of GPT2LMHeadModel or LlamaForCausalLM beside
// safetensors under that library's names. Both sides compute the same function: fp32 logits differ by rounding only.
// Differences of form: GPT-2 keeps a layer's matrices as (in, out), Llama keeps query, key and value apart, and neither
// pads the vocabulary.

// Of transformers 4 or 5. Keys that do not change the function are not looked at; dropout, a setting of training, stays
// 0. Throws DataError with the key: a setting that makes another function than any of ours, one that is missing, or a
// wrong one.
ModelConfig read_hugging_face_config(const std::string& path);

// The way back, as the text of the file. end_of_document: the token that starts and ends a text, if known. Throws
// DataError where transformers has no such model: the post-norm family, and grouped queries in GPT-2.
std::string hugging_face_config(const ModelConfig& config, std::optional<int64_t> end_of_document);

struct HuggingFaceModel {
  ModelConfig config;                   // resolved
  std::vector<NamedTensor> parameters;  // fp32, under our names, in table order; widened from fp16 or bf16
};

// `path`: a folder with config.json and model.safetensors or model.safetensors.index.json, or one of the latter two
// with config.json beside it. Names may have or lack the prefix "transformer." or "model."; constants of old files are
// passed over. Throws DataError as read_hugging_face_config() does, or one that tells every tensor that is missing,
// unexpected or misshapen. Holds two copies of the weights in memory for a moment, of which the file is one.
HuggingFaceModel read_hugging_face(const std::string& path);

// The way back, of a bound model of the families gpt2 and llama; may be views of it.
std::vector<NamedTensor> hugging_face_tensors(const StageChain& model);

}  // namespace reprise
