#include "model/model_config.h"

#include <fmt/format.h>

#include <algorithm>

namespace reprise {
namespace {

// Stage numbers fit 16 bits wherever they are recorded.
constexpr int64_t kMostLayers = 16000;
constexpr int64_t kMostElements = int64_t{1} << 32;
constexpr int64_t kMostChunkTokens = int64_t{1} << 24;

template <class Value>
[[noreturn]] void refuse(const std::string& name, const std::string& expected, Value got, Value nearest) {
  throw InvalidSetting("model." + name,
                       fmt::format("expected {}, got {}; the nearest legal value is {}", expected, got, nearest));
}

void check_range(const std::string& name, int64_t got, int64_t least, int64_t most) {
  if (got >= least && got <= most) return;
  refuse(name, fmt::format("a whole number from {} to {}", least, most), got, got < least ? least : most);
}

// The divisor of `whole` that lies nearest to `wanted`, among those with which `is_legal` holds; 1 is one of them at
// worst.
template <class Legal>
int64_t nearest_divisor(int64_t whole, int64_t wanted, Legal is_legal) {
  int64_t best = 0;
  for (int64_t divisor = 1; divisor <= whole; ++divisor) {
    if (whole % divisor != 0 || !is_legal(divisor)) continue;
    if (best == 0 || std::abs(divisor - wanted) < std::abs(best - wanted)) best = divisor;
  }
  return best;
}

void check_heads(const ModelConfig& config) {
  const bool needs_pairs = config.family == Family::llama;  // rotary positions turn pairs of elements
  if (needs_pairs && config.width % 2 != 0) {
    refuse("width", "an even number for rotary positions", config.width, config.width + 1);
  }
  const auto is_legal = [&](int64_t heads) { return !needs_pairs || config.width / heads % 2 == 0; };
  if (config.width % config.heads != 0 || !is_legal(config.heads)) {
    const std::string expected = "a divisor of model.width = " + std::to_string(config.width) +
                                 (needs_pairs ? " that leaves an even head width" : "");
    refuse("heads", expected, config.heads, nearest_divisor(config.width, config.heads, is_legal));
  }
  if (config.heads % config.kv_heads != 0) {
    refuse("kv_heads", "a divisor of model.heads = " + std::to_string(config.heads), config.kv_heads,
           nearest_divisor(config.heads, config.kv_heads, [](int64_t) { return true; }));
  }
}

}  // namespace

ModelConfig ModelConfig::resolved() const {
  ModelConfig out = *this;
  check_range("layers", layers, 1, kMostLayers);
  check_range("width", width, 1, int64_t{1} << 20);
  check_range("heads", heads, 1, width);
  check_range("kv_heads", kv_heads, 0, heads);
  check_range("feed_forward", feed_forward, 0, int64_t{1} << 24);
  check_range("context", context, 1, kMostElements / width);
  check_range("vocabulary", vocabulary, 1, int64_t{1} << 24);
  check_range("head_chunk_tokens", head_chunk_tokens, 0, kMostChunkTokens);
  if (!(dropout >= 0.0)) refuse("dropout", "a rate from 0 to below 1", dropout, 0.0);
  if (!(dropout < 1.0)) refuse("dropout", "a rate from 0 to below 1", dropout, 0.99);
  if (!(rope_theta > 1.0)) refuse("rope_theta", "a number above 1", rope_theta, 10000.0);
  if (kv_heads == 0) out.kv_heads = heads;
  if (feed_forward == 0) {
    const int64_t gated = (8 * width + 2) / 3;  // 8/3 · width, rounded up
    out.feed_forward = family == Family::llama ? (gated + 63) / 64 * 64 : 4 * width;
  }
  if (head_chunk_tokens == 0) {
    const int64_t tokens = std::max((int64_t{1} << 25) / vocabulary, width / 2);
    out.head_chunk_tokens = std::clamp((tokens + 127) / 128 * 128, int64_t{128}, kMostChunkTokens);
  }
  if (objective == Objective::regression && family != Family::postnorm) {
    refuse("family", "postnorm for the regression objective", name_of(family), name_of(Family::postnorm));
  }
  check_heads(out);
  return out;
}

const char* name_of(Family family) {
  constexpr const char* kNames[] = {"gpt2", "llama", "postnorm"};  // in the order of Family
  return kNames[static_cast<size_t>(family)];
}

}  // namespace reprise
