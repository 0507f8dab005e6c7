#include "launcher/run_facts.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

namespace reprise {

namespace {

std::string hash_of(const void* bytes, size_t count) { return fmt::format("{:016x}", XXH3_64bits(bytes, count)); }

}  // namespace

std::string describe_data(const TokenShards& shards, const ModelConfig& model) {
  constexpr int64_t kSamples = 16;
  const int64_t windows = shards.some_windows(model.context + 1);
  std::vector<int64_t> tokens(static_cast<size_t>(kSamples * (model.context + 1)));
  for (int64_t i = 0; i < kSamples; ++i) {
    shards.read_window(i * windows / kSamples, model.context + 1, model.vocabulary,
                       tokens.data() + i * (model.context + 1));
  }
  return fmt::format("{} tokens, sample {}", shards.tokens(), hash_of(tokens.data(), tokens.size() * sizeof(int64_t)));
}

std::string describe_parameters(const StageChain& model) {
  std::string text;
  for (int i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    text +=
        fmt::format("{} {} {}\n", parameter.name, fmt::join(parameter.shape, "x"), fmt::join(parameter.stages, ","));
  }
  return hash_of(text.data(), text.size());
}

std::string describe_buckets(const std::vector<Bucket>& buckets) {
  std::string text;
  for (const Bucket& bucket : buckets) text += fmt::format("{} {} {}\n", bucket.begin, bucket.end, bucket.lowest_stage);
  return fmt::format("{} buckets, {}", buckets.size(), hash_of(text.data(), text.size()));
}

std::string describe_model(const ModelConfig& model) {
  return fmt::format("{}, {} layers, width {}, {} heads, context {}", name_of(model.family), model.layers, model.width,
                     model.heads, model.context);
}

}  // namespace reprise
