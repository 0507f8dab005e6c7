// A stage that is no function is found by its replay, and named; healthy ones pass, at no cost in bits or bytes.
#include <gtest/gtest.h>

#include "checkpointing/memory_meter.h"
#include "checkpointing/policies.h"
#include "checkpointing/segment_executor.h"
#include "tests/model/bound_model.h"

namespace reprise {
namespace {

constexpr int kLayers = 4, kMicroBatches = 2;

struct Wobble {
  int stage = -1, micro_batch = 0;
  int running_micro_batch = 0;
  int64_t calls = 0;
};

// x → tanh(w x); the wobbling one adds how often it has been called.
class ToyStage final : public Stage {
 public:
  ToyStage(int index, Wobble& wobble)
      : Stage("toy" + std::to_string(index), index == 0 || index > kLayers ? -1 : index - 1,
              index > 0 && index <= kLayers),
        weight_(torch::ones({8}).set_requires_grad(true)),
        wobble_(wobble) {
    weight_.mutable_grad() = torch::zeros_like(weight_);
  }

  torch::Tensor forward(torch::Tensor input, const StageContext& context) override {
    if (!input.is_floating_point()) return input.to(torch::kFloat32) * weight_;
    if (context.stage > kLayers) return (input * weight_).sum();
    const bool wobbles = context.stage == wobble_.stage && wobble_.running_micro_batch == wobble_.micro_batch;
    return torch::tanh(input * weight_) + (wobbles ? 1e-6 * static_cast<double>(wobble_.calls++) : 0.0);
  }

 private:
  torch::Tensor weight_;
  Wobble& wobble_;
};

// The message of the first step of `steps` that finds something; empty: none does.
std::string first_finding(Wobble wobble, const PolicySetting& policy, int64_t every, int64_t steps) {
  std::vector<std::unique_ptr<Stage>> stages;
  for (int s = 0; s < kLayers + 2; ++s) stages.push_back(std::make_unique<ToyStage>(s, wobble));
  StageChain chain(std::move(stages), ParameterTable());
  SegmentExecutor executor(chain, plan_of(policy, shapes_of(chain)), 1);
  executor.verify_replays({every, kMicroBatches, "rank 3 on node7"});
  const Batch batch{.tokens = torch::arange(8), .targets = torch::arange(8)};
  try {
    for (int64_t step = 0; step < steps; ++step) {
      executor.begin_step(step);
      for (wobble.running_micro_batch = 0; wobble.running_micro_batch < kMicroBatches; ++wobble.running_micro_batch) {
        executor.run(batch, 1.0, [](int) {});
      }
    }
  } catch (const ReplayDiffers& error) {
    return error.what();
  }
  return {};
}

TEST(ReplayCheck, AStageThatCountsItsCallsIsFoundWhenItsTurnComes) {
  for (int stage = 1; stage <= kLayers; ++stage) {
    for (int micro_batch = 0; micro_batch < kMicroBatches; ++micro_batch) {
      const int turn = micro_batch * kLayers + stage - 1;
      const std::string message = first_finding({stage, micro_batch}, {.policy = "full"}, 3, 3 * 2 * kLayers);
      EXPECT_TRUE(message.starts_with(
          "step " + std::to_string(3 * turn + 1) + ", micro-batch " + std::to_string(micro_batch + 1) +
          " of 2, rank 3 on node7: the replay of stage toy" + std::to_string(stage) + " gives other bits"))
          << message;
    }
  }
}

// What comes after it in its segment differs, too, and is not to blame.
TEST(ReplayCheck, TheFirstStageOfASegmentThatDiffersIsNamed) {
  const std::string message = first_finding({2, 0}, {.policy = "group", .group = kLayers}, 1, 1);
  EXPECT_NE(message.find("stage toy2 "), std::string::npos) << message;
}

TEST(ReplayCheck, HealthyStagesKeptStagesAndZeroFindNothing) {
  EXPECT_EQ(first_finding({}, {.policy = "full"}, 1, 20), "");
  EXPECT_EQ(first_finding({2, 0}, {.policy = "none"}, 1, 20), "");  // nothing is replayed
  EXPECT_EQ(first_finding({2, 0}, {.policy = "full"}, 0, 20), "");
}

TEST(ReplayCheck, RealModelsPassWithTheSameBitsAndTheSamePeak) {
  MemoryMeter::install();
  for (const Family family : {Family::gpt2, Family::llama, Family::postnorm}) {
    const ModelConfig config = small_model(family, 0.1);
    for (const torch::Dtype compute : {torch::kFloat32, torch::kBFloat16}) {
      BoundModel model(config, torch::kFloat32, 7, compute);
      const Batch batch = random_batch(config, 3, 10);
      for (const char* policy : {"full", "sqrt", "every"}) {
        const auto played = [&](int64_t every) {
          SegmentExecutor executor(model.chain, plan_of({.policy = policy}, shapes_of(model.chain)), 11);
          executor.verify_replays({every, 1, ""});
          model.gradients.zero_();
          MemoryMeter::reset_peak();
          const uint64_t before = MemoryMeter::current_bytes();
          for (int64_t step = 0; step < 4; ++step) {
            executor.begin_step(step);
            executor.run(batch, 1.0, [](int) {});
          }
          return std::pair(model.gradients.clone(), MemoryMeter::peak_bytes() - before);
        };
        const auto plain = played(0), verified = played(1);
        EXPECT_TRUE(torch::equal(plain.first, verified.first)) << policy;
        EXPECT_EQ(plain.second, verified.second) << policy;
      }
    }
  }
}

}  // namespace
}  // namespace reprise
