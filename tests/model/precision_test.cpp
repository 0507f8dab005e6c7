// The model in bfloat16 over fp32 parameters: what is narrow, what stays wide, and how near the results are.
#include <gtest/gtest.h>

#include "model/linear.h"
#include "model/transform.h"
#include "tests/model/bound_model.h"

namespace reprise {
namespace {

class Bfloat16 : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    torch::manual_seed(3);
    config_ = small_model(GetParam(), /*dropout=*/0.1);
    batch_ = random_batch(config_, 3, 10);
  }

  ModelConfig config_;
  Batch batch_;
};

double relative_error(const torch::Tensor& got, const torch::Tensor& expected) {
  return ((got - expected).norm() / expected.norm()).item<double>();
}

TEST_P(Bfloat16, IsNearFp32AndAccumulatesInFp32) {
  BoundModel wide(config_), narrow(config_, torch::kFloat32, 7, torch::kBFloat16);
  narrow.values.copy_(wide.values);
  narrow.computed.copy_(wide.values);
  const double scale = 1.0 / static_cast<double>(batch_.targets.numel());
  const torch::Tensor expected = run_stages(wide.chain, batch_, SaveLevel::all, scale);
  const torch::Tensor loss = run_stages(narrow.chain, batch_, SaveLevel::all, scale);
  EXPECT_EQ(loss.scalar_type(), torch::kFloat32);
  EXPECT_NEAR(loss.item<double>() / expected.item<double>(), 1, 2e-3);
  EXPECT_LT(relative_error(narrow.gradients, wide.gradients), 0.03);
  const torch::Tensor once = narrow.gradients.clone();
  run_stages(narrow.chain, batch_, SaveLevel::all, scale);
  EXPECT_LT(relative_error(narrow.gradients, 2 * once), 1e-6) << "a sum of two in bfloat16 would be off by 1e-3";
}

TEST_P(Bfloat16, NormsAreReadInFp32AndMatricesAreNot) {
  BoundModel model(config_, torch::kFloat32, 7, torch::kBFloat16);
  for (int i = 0; i < model.chain.parameters().size(); ++i) {
    const Parameter& parameter = model.chain.parameters()[i];
    const bool is_norm = parameter.name.find("norm") != std::string::npos;
    EXPECT_EQ(parameter.value.scalar_type(), is_norm ? torch::kFloat32 : torch::kBFloat16) << parameter.name;
    EXPECT_EQ(parameter.master.scalar_type(), torch::kFloat32) << parameter.name;
    EXPECT_EQ(parameter.grad().scalar_type(), torch::kFloat32) << parameter.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Bfloat16, testing::Values(Family::gpt2, Family::llama, Family::postnorm),
                         family_name);

TEST(AddProduct, BlocksOfRowsAreTheWhole) {
  torch::manual_seed(1);
  const torch::Tensor a = torch::randn({5, 700}).to(torch::kBFloat16), b = torch::randn({5, 3000}).to(torch::kBFloat16);
  torch::Tensor sum = torch::ones({700, 3000});
  add_product_(sum, a, b, 0.5);  // 700 · 3000 elements: three blocks
  const torch::Tensor expected = 1 + 0.5 * a.to(torch::kFloat32).t().mm(b.to(torch::kFloat32));
  EXPECT_TRUE(torch::allclose(sum, expected, 0, 0.05)) << (sum - expected).abs().max();
  EXPECT_LT((sum - expected).abs().mean().item<double>(), 0.003);
}

TEST(Attention, RefusesOnADeviceAHeadWidthThatItsOperatorsDoNotTake) {
  const auto attention = make_attention(2, 2, nullptr, /*is_causal=*/true);  // a head width of 12
  std::vector<torch::Tensor> projected{torch::empty({1, 4, 72}, torch::dtype(torch::kBFloat16).device(torch::kMeta))};
  try {
    attention->forward(projected, {});
    FAIL() << "accepted";
  } catch (const InvalidSetting& error) {
    EXPECT_EQ(error.key(), "model.heads");
    EXPECT_NE(std::string(error.what()).find("a multiple of 8"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace reprise
