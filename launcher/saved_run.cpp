#include "launcher/saved_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "checkpointing/segment_executor.h"
#include "launcher/device_choice.h"
#include "training/errors.h"
#include "training/safetensors.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

std::string first_existing(const fs::path& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (fs::exists(folder / name)) return (folder / name).string();
  }
  throw DataError(fmt::format("{}: expected a run with {}, got none", folder.string(), fmt::join(names, " or ")));
}

void copy_weights(const SafetensorsFile& file, const std::string& path, StageChain& model) {
  const ParameterTable& parameters = model.parameters();
  if (static_cast<int>(file.tensors.size()) != parameters.size()) {
    throw DataError(fmt::format("{}: expected {} tensors, got {}", path, parameters.size(), file.tensors.size()));
  }
  const torch::NoGradGuard no_grad;
  for (int i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const auto found = file.tensors.find(parameter.name);
    if (found == file.tensors.end()) throw DataError(fmt::format("{}: the tensor {} is missing", path, parameter.name));
    const torch::Tensor& saved = found->second;
    if (saved.sizes() != c10::IntArrayRef(parameter.shape) || saved.scalar_type() != torch::kFloat32) {
      throw DataError(fmt::format("{}: {}: expected fp32 of shape {}, got {} of shape {}", path, parameter.name,
                                  fmt::join(parameter.shape, "x"), c10::toString(saved.scalar_type()),
                                  fmt::join(saved.sizes().vec(), "x")));
    }
    torch::Tensor value = parameter.master;
    value.copy_(saved);
  }
}

// Loss sum of `count` windows of `length` targets, one after the other from the first token on.
double loss_of(SegmentExecutor& executor, torch::Device device, std::span<const uint16_t> tokens, int64_t count,
               int64_t length) {
  Batch batch;
  batch.tokens = torch::empty({count, length}, torch::kInt64);   // (B, T)
  batch.targets = torch::empty({count, length}, torch::kInt64);  // (B, T)
  std::copy_n(tokens.begin(), count * length, batch.tokens.mutable_data_ptr<int64_t>());
  std::copy_n(tokens.begin() + 1, count * length, batch.targets.mutable_data_ptr<int64_t>());
  return executor.evaluate(on_device(batch, device)).item<double>();
}

}  // namespace

SavedRun load_run(const std::string& path) {
  const std::string weights = first_existing(path, {"final/model.safetensors", "model.safetensors"});
  const std::string config = first_existing(path, {"config.yaml", "../config.yaml"});
  const SafetensorsFile file = read_safetensors(weights);
  SavedRun run;
  run.config = load_config(config, {}, false);
  const auto tokenizer = file.metadata.find("tokenizer");
  run.tokenizer = tokenizer == file.metadata.end() ? "bytes" : tokenizer->second;
  run.config.run.device = "auto";  // whatever it was trained on, and in what precision
  run.config.precision.compute = "fp32";
  run.model = std::make_unique<StageChain>(run.config.model);
  run.weights = std::make_unique<FlatModel>(*run.model, false, torch::kFloat32, choose_device(run.config).device);
  copy_weights(file, weights, *run.model);
  return run;
}

double EvaluationTotals::bits_per_byte() const {
  return loss / std::log(2.0) / static_cast<double>(std::max<int64_t>(1, bytes));
}

EvaluationTotals evaluate(SavedRun& run, const TokenShards& split, int64_t context) {
  constexpr int64_t kTokensAtOnce = 8192;
  const int64_t at_once = std::max<int64_t>(1, kTokensAtOnce / context);
  const Tokenizer tokenizer(run.tokenizer);
  SegmentExecutor executor(*run.model, plan_of(PolicySetting{}, shapes_of(*run.model)), run.config.run.seed);
  EvaluationTotals totals;
  for (const ShardFile& shard : split.shards()) {
    std::span<const uint16_t> left = shard.tokens_below(run.config.model.vocabulary);
    totals.tokens += std::ssize(left) - 1;
    totals.bytes += std::ssize(tokenizer.decode({left.begin() + 1, left.end()}));
    while (left.size() > 1) {
      const int64_t targets = std::ssize(left) - 1, length = std::min(context, targets);
      const int64_t count = std::min(at_once, targets / length);
      totals.loss += loss_of(executor, run.model->device(), left, count, length);
      left = left.subspan(static_cast<size_t>(count * length));
    }
  }
  return totals;
}

Sampler::Sampler(const StageChain& model, std::vector<int64_t> tokens, double temperature, uint64_t seed)
    : model_(model), window_(std::move(tokens)), temperature_(temperature), generator_(seed) {}

int64_t Sampler::next() {
  const auto context = static_cast<size_t>(model_.config().context);
  if (window_.size() > context) window_.erase(window_.begin(), window_.end() - static_cast<ptrdiff_t>(context));
  const torch::Tensor tokens = torch::tensor(window_, torch::kInt64).unsqueeze(0).to(model_.device());  // (1, T)
  window_.push_back(draw(model_.next_token_logits(tokens)[0].cpu()));
  return window_.back();
}

int64_t Sampler::draw(const torch::Tensor& logits) {  // (V)
  if (temperature_ == 0) return logits.argmax().item<int64_t>();
  // Inverse of the distribution function at a 53-bit fraction: the standard library's distributions are not portable.
  const torch::Tensor sums =
      torch::softmax(logits.to(torch::kFloat64) / temperature_, 0).cumsum(0).contiguous();  // (V)
  const double fraction = static_cast<double>(generator_() >> 11) * 0x1p-53;
  const double* begin = sums.const_data_ptr<double>();
  const double* end = begin + sums.numel();
  const double* chosen = std::upper_bound(begin, end, fraction * *(end - 1));
  return std::min<int64_t>(chosen - begin, sums.numel() - 1);
}

}  // namespace reprise
