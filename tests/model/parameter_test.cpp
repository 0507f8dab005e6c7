#include "model/parameter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/model/bound_model.h"

namespace reprise {
namespace {

std::vector<std::string> names_of(const ParameterTable& table) {
  std::vector<std::string> names;
  for (int i = 0; i < table.size(); ++i) names.push_back(table[i].name);
  return names;
}

const Parameter& find(const ParameterTable& table, const std::string& name) {
  const std::vector<std::string> names = names_of(table);
  return table[static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin())];
}

TEST(Parameters, AreNamedInOrderOfFirstUse) {
  ModelConfig config = small_model(Family::gpt2);
  config.layers = 1;
  EXPECT_EQ(names_of(StageChain(config).parameters()),
            (std::vector<std::string>{
                "embedding.token", "embedding.position", "layer0.attention.norm.weight", "layer0.attention.norm.bias",
                "layer0.attention.qkv.weight", "layer0.attention.qkv.bias", "layer0.attention.output.weight",
                "layer0.attention.output.bias", "layer0.feed_forward.norm.weight", "layer0.feed_forward.norm.bias",
                "layer0.feed_forward.up.weight", "layer0.feed_forward.up.bias", "layer0.feed_forward.down.weight",
                "layer0.feed_forward.down.bias", "head.norm.weight", "head.norm.bias"}));
  config.family = Family::llama;
  config.tie_embeddings = false;
  EXPECT_EQ(names_of(StageChain(config).parameters()),
            (std::vector<std::string>{"embedding.token", "layer0.attention.norm.weight", "layer0.attention.qkv.weight",
                                      "layer0.attention.output.weight", "layer0.feed_forward.norm.weight",
                                      "layer0.feed_forward.gate.weight", "layer0.feed_forward.up.weight",
                                      "layer0.feed_forward.down.weight", "head.norm.weight", "head.weight"}));
}

TEST(Parameters, SayWhichStagesUseThemAndMatricesDecay) {
  for (const Family family : {Family::gpt2, Family::llama, Family::postnorm}) {
    const StageChain chain(small_model(family));
    const ParameterTable& table = chain.parameters();
    EXPECT_EQ(find(table, "embedding.token").stages, (std::vector<int>{0, 5}));
    for (int i = 0; i < table.size(); ++i) {
      EXPECT_EQ(table[i].decays, table[i].shape.size() == 2) << table[i].name;
      const std::string stage = chain[table[i].lowest_stage()].name;
      EXPECT_EQ(table[i].name.substr(0, stage.size() + 1), stage + ".");
    }
    EXPECT_TRUE(chain[1].recomputable && chain[4].recomputable);
    EXPECT_FALSE(chain[0].recomputable || chain[5].recomputable);
    EXPECT_EQ(chain[3].layer, 1);
    EXPECT_EQ(chain[0].layer, -1);
  }
}

TEST(Parameters, CountLeavesOutThePadding) {
  ModelConfig config = small_model(Family::llama);
  config.layers = 1;
  const int64_t C = 24, F = 40, qkv = (4 + 2 * 2) * 6;
  EXPECT_EQ(StageChain(config).parameters().count(), 37 * C + C + qkv * C + C * C + C + 3 * F * C + C);
}

TEST(Parameters, InitialValuesDependOnSeedAndNameOnly) {
  const BoundModel model(small_model(Family::gpt2), torch::kFloat32, 3);
  ModelConfig deeper = small_model(Family::gpt2);
  deeper.tie_embeddings = false;
  const BoundModel other(deeper, torch::kFloat32, 3), third(deeper, torch::kFloat32, 3 + (uint64_t{1} << 32));
  const auto value = [](const BoundModel& m, const std::string& name) {
    return find(m.chain.parameters(), name).value;
  };
  const std::string name = "layer1.attention.qkv.weight";
  EXPECT_TRUE(value(model, name).equal(value(other, name)));
  EXPECT_FALSE(value(other, name).equal(value(third, name))) << "all 64 bits of the seed count";
  EXPECT_FALSE(value(model, name).equal(value(model, "layer0.attention.qkv.weight")));
}

TEST(Parameters, InitialDeviationsAreTheReferences) {
  ModelConfig config = small_model(Family::gpt2);
  config.width = 256;
  config.feed_forward = 1024;
  config.layers = 8;
  const auto deviation = [&](Family family, const std::string& name) {
    config.family = family;
    const BoundModel model(config);
    return find(model.chain.parameters(), name).value.std().item<double>();
  };
  EXPECT_NEAR(deviation(Family::gpt2, "layer3.attention.qkv.weight"), 0.02, 4e-4);
  EXPECT_NEAR(deviation(Family::gpt2, "layer3.feed_forward.down.weight"), 0.02 / 4, 1e-4);
  EXPECT_NEAR(deviation(Family::llama, "layer3.feed_forward.down.weight"), 0.02, 4e-4);
  EXPECT_NEAR(deviation(Family::postnorm, "layer3.feed_forward.up.weight"), std::sqrt(2.0 / 1280), 8e-4);
}

TEST(Parameters, BindKeepsStorageAndChecksCounts) {
  BoundModel model(small_model(Family::gpt2));
  const Parameter& first = model.chain.parameters()[0];
  EXPECT_TRUE(first.value.is_leaf() && first.value.requires_grad());
  EXPECT_EQ(first.value.data_ptr(), model.values.data_ptr());
  EXPECT_EQ(first.grad().data_ptr(), model.gradients.data_ptr());
  run_stages(model.chain, random_batch(model.chain.config(), 1, 4));
  EXPECT_EQ(first.grad().data_ptr(), model.gradients.data_ptr()) << "gradients are written in place";
  EXPECT_THROW(model.chain.parameters().bind({}, {}), std::invalid_argument);
}

}  // namespace
}  // namespace reprise
