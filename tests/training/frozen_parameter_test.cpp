// A parameter that is frozen, or that no forward uses, neither hangs the ranks nor disturbs the others' gradients: a
// stage is final when its backward has run, whoever got a gradient in it.
#include <gtest/gtest.h>

#include "checkpointing/policies.h"
#include "checkpointing/segment_executor.h"
#include "distributed/gradient_reducer.h"
#include "tests/distributed/threads_communicator.h"
#include "training/flat_model.h"

namespace reprise {
namespace {

constexpr int kLayers = 3;
constexpr int64_t kWidth = 32;
enum class Kind { trained, frozen, unused, frozen_stage };

// x → x + tanh(w x) with a second weight that is added where it is used; the first stage looks up, the last one sums.
class TwoWeights final : public Stage {
 public:
  TwoWeights(int index, ParameterTable& table, Kind kind)
      : Stage("stage" + std::to_string(index), index == 0 || index > kLayers ? -1 : index - 1,
              index > 0 && index <= kLayers),
        kind_(kind),
        weight_(table.add(described(index, "weight", index == 0 ? 4 : 1))),
        other_(table.add(described(index, "other", 1))) {}

  torch::Tensor forward(torch::Tensor input, const StageContext& context) override {
    const torch::Tensor other = kind_ == Kind::unused ? torch::zeros({1, kWidth}) : other_->value;
    if (!input.is_floating_point()) return weight_->value.index_select(0, input) + other;
    if (context.stage > kLayers) return ((input + other) * weight_->value).sum();
    return input + torch::tanh(input * weight_->value) + other;
  }

 private:
  static Parameter described(int index, const std::string& name, int64_t rows) {
    return {.name = "stage" + std::to_string(index) + "." + name,
            .shape = {rows, kWidth},
            .deviation = 0.3,
            .stages = {index}};
  }

  const Kind kind_;
  Parameter *const weight_, *const other_;
};

// Summed over two ranks, whose buckets cut through the parameters of `stage`; by parameter.
std::vector<torch::Tensor> summed_gradients(const std::string& policy, int stage, Kind kind) {
  std::vector<torch::Tensor> gradients;
  run_as_threads(2, [&](Communicator& communicator) {
    communicator.set_wait_limit(20, "the test");
    std::vector<std::unique_ptr<Stage>> stages;
    ParameterTable table;
    for (int s = 0; s < kLayers + 2; ++s) {
      stages.push_back(std::make_unique<TwoWeights>(s, table, s == stage ? kind : Kind::trained));
    }
    StageChain model(std::move(stages), std::move(table));
    FlatModel flat(model, true);
    flat.initialize(model, 3);
    if (kind == Kind::frozen_stage) model.parameters()[2 * stage].value.set_requires_grad(false);
    if (kind == Kind::frozen || kind == Kind::frozen_stage)
      model.parameters()[2 * stage + 1].value.set_requires_grad(false);
    GradientReducer reducer(communicator, flat.gradients, make_buckets(flat.layout, 64, 192, 4), model.points(), true,
                            torch::kFloat32);
    SegmentExecutor executor(model, plan_of({.policy = policy}, shapes_of(model)), 1);
    const Batch batch{.tokens = torch::arange(4) % (2 + communicator.rank()), .targets = torch::arange(4)};
    for (int64_t step = 0; step < 2; ++step) {
      executor.begin_step(step);
      reducer.begin_step();
      executor.run(batch, 1.0, [](int) {});
      executor.run(batch, 1.0, [&](int point) { reducer.point_final(point); });
      reducer.finish();
    }
    if (communicator.rank() > 0) return;
    for (int i = 0; i < model.parameters().size(); ++i)
      gradients.push_back(flat.layout.view(flat.gradients, i).clone());
  });
  return gradients;
}

TEST(FrozenParameter, NeverHangsAndGetsZeros) {
  for (const char* policy : {"none", "full", "sqrt"}) {
    const std::vector<torch::Tensor> trained = summed_gradients(policy, 0, Kind::trained);
    for (const Kind kind : {Kind::frozen, Kind::unused, Kind::frozen_stage}) {
      for (int stage = 0; stage < kLayers + 2; ++stage) {
        SCOPED_TRACE(::testing::Message() << policy << " stage " << stage << " kind " << static_cast<int>(kind));
        const std::vector<torch::Tensor> gradients = summed_gradients(policy, stage, kind);
        ASSERT_EQ(gradients.size(), trained.size());
        for (size_t i = 0; i < gradients.size(); ++i) {
          const int index = static_cast<int>(i);
          const bool is_its_own = kind == Kind::frozen_stage ? index / 2 == stage : index == 2 * stage + 1;
          EXPECT_EQ(gradients[i].any().item<bool>(), !is_its_own) << i;
          if (is_its_own || kind == Kind::unused) continue;
          EXPECT_TRUE(torch::equal(gradients[i], trained[i])) << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace reprise
