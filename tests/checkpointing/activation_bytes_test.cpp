// Peak activation bytes of 12 layers follow formulas that can be worked out by hand, and the order of the policies with
// them.
#include <gtest/gtest.h>

#include <cmath>

#include "checkpointing/memory_meter.h"
#include "checkpointing/policies.h"
#include "checkpointing/segment_executor.h"
#include "tests/model/bound_model.h"

namespace reprise {
namespace {

constexpr int kLayers = 12;
constexpr int64_t kSequences = 4, kTokens = 64;

ModelConfig gpt2_of_12_layers() {
  ModelConfig config;
  config.layers = kLayers;
  config.width = 64;
  config.heads = 4;
  config.context = kTokens;
  config.dropout = 0.1;
  config.head_chunk_tokens = 32;
  return config;
}

// clang-format off
// The formulas, in elements per token of a gpt2 with everything kept within a stage (level `all`):
//
//   attention keeps     A = 6C + H + 2    input, normalised input, q k v, attended; statistics of attention, norm
//   feed_forward keeps  F = 10C + 2       input, normalised input, 4C before and 4C after the activation; statistics
//   a kept layer        K = A + F         (16C and a little)
//   a forgotten layer   C                 the input of its segment, once per segment
//   at work, highest:
//     head              W_h = 3C + 2      its input, the normalised copy that becomes the gradient, the norm's backward
//                                         (while one chunk of logits is smaller than C per token)
//     feed_forward      W_f = 12C + 2     its own 10C + 2, the gradients that come in and go out
//
//   none       12 K + W_h                 the head runs while all layers are kept
//   every: 2   6 C + 6 K + W_h            layers 1, 3, …, 11 kept, one boundary for each of the others
//   group: 4   2 C + 3 K + A + W_f        two boundaries wait while the last segment, replayed, starts its backward
//   full       11 C + A + W_f             the same with segments of one layer
// clang-format on
struct Formulas {
  double width, heads;
  double attention() const { return 6 * width + heads + 2; }
  double layer() const { return attention() + 10 * width + 2; }
  double head_at_work() const { return 3 * width + 2; }
  double feed_forward_at_work() const { return 12 * width + 2; }
  double none() const { return 12 * layer() + head_at_work(); }
  double every_2() const { return 6 * width + 6 * layer() + head_at_work(); }
  double group_4() const { return 2 * width + 3 * layer() + attention() + feed_forward_at_work(); }
  double full() const { return 11 * width + attention() + feed_forward_at_work(); }
};

double peak_elements_per_token(const std::string& policy) {
  MemoryMeter::install();
  torch::manual_seed(1);
  BoundModel model(gpt2_of_12_layers());
  PolicySetting setting;
  setting.policy = policy;
  setting.group = 4;
  setting.every = 2;
  SegmentExecutor executor(model.chain, plan_of(setting, shapes_of(model.chain)), /*seed=*/1);
  const Batch batch = random_batch(model.chain.config(), kSequences, kTokens);
  const uint64_t idle_bytes = MemoryMeter::current_bytes();
  MemoryMeter::reset_peak();
  executor.run(batch, 1.0, [](int) {});
  return static_cast<double>(MemoryMeter::peak_bytes() - idle_bytes) / (sizeof(float) * kSequences * kTokens);
}

TEST(ActivationBytes, FollowTheirFormulasAndFallFromNoneToFull) {
  const ModelConfig config = gpt2_of_12_layers();
  const Formulas formulas{static_cast<double>(config.width), static_cast<double>(config.heads)};
  const std::vector<std::pair<const char*, double>> formula_of = {{"none", formulas.none()},
                                                                  {"every", formulas.every_2()},
                                                                  {"group", formulas.group_4()},
                                                                  {"full", formulas.full()}};
  double less_than = HUGE_VAL;
  for (const auto& [policy, formula] : formula_of) {
    const double measured = peak_elements_per_token(policy);
    EXPECT_NEAR(measured / formula, 1.0, 0.001) << policy << " in elements per token: " << measured;
    EXPECT_LT(measured, less_than) << policy;
    less_than = measured;
  }
}

}  // namespace
}  // namespace reprise
