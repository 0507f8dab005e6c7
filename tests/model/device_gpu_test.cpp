// ctest-labels: gpu
// Every stage of every family on a CUDA device against the CPU: dropout to the bit, the rest to a tolerance; and on the
// device every save level, and every repetition, to the bit in every precision.
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/utils.h>

#include "model/dropout.h"
#include "tests/model/bound_model.h"

namespace reprise {
namespace {

const torch::Device kGpu(torch::kCUDA, 0);

Batch on_gpu(Batch batch) {
  batch.tokens = batch.tokens.to(kGpu);
  batch.targets = batch.targets.to(kGpu);
  return batch;
}

double miss(const torch::Tensor& got, const torch::Tensor& expected) {
  return ((got.cpu().to(torch::kFloat64) - expected.to(torch::kFloat64)).norm() / expected.to(torch::kFloat64).norm())
      .item<double>();
}

class OnGpu : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA build and a device";
    at::globalContext().setFloat32MatmulPrecision("highest");
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  }

  // Heads of 8 elements, the least that CUDA's attention takes in every type.
  ModelConfig config() const {
    ModelConfig config = small_model(GetParam(), /*dropout=*/0.1);
    config.width = 32;
    return config;
  }
};

TEST_P(OnGpu, AStepGivesTheLossAndTheGradientsOfTheCpu) {
  const Batch batch = random_batch(config(), 3, 10);
  BoundModel cpu(config());
  BoundModel gpu(config(), torch::kFloat32, 7, {}, kGpu);
  gpu.values.copy_(cpu.values);
  const torch::Tensor expected = run_stages(cpu.chain, batch), loss = run_stages(gpu.chain, on_gpu(batch));
  EXPECT_LT(miss(loss, expected), 1e-6);
  EXPECT_LT(miss(gpu.gradients, cpu.gradients), 1e-5);
}

// All stages but attention, which CUDA's operators do not have in fp64: what is wrong by more than rounding shows.
TEST_P(OnGpu, StagesAgreeInFp64) {
  BoundModel cpu(config(), torch::kFloat64), gpu(config(), torch::kFloat64, 7, {}, kGpu);
  gpu.values.copy_(cpu.values);
  const Batch batch = random_batch(config(), 3, 10);
  for (int s = 0; s < cpu.chain.size(); ++s) {
    if (cpu.chain[s].name.ends_with("attention")) continue;
    const torch::Tensor x = s == 0 ? batch.tokens : torch::randn({3, 10, config().width}, torch::kFloat64);
    const auto run = [&](StageChain& chain, torch::Tensor input, const Batch& at) {
      if (s > 0) input = input.detach().set_requires_grad(true);
      const torch::Tensor output = chain[s].forward(input, context_of(at, s, SaveLevel::input, 1.0));
      torch::autograd::backward({output}, {torch::ones_like(output)});
      return std::pair{output.detach(), s > 0 ? input.grad() : torch::ones({1}, torch::kFloat64)};
    };
    const auto [expected, expected_grad] = run(cpu.chain, x, batch);
    const auto [output, grad] = run(gpu.chain, x.to(kGpu), on_gpu(batch));
    EXPECT_LT(miss(output, expected), 1e-12) << cpu.chain[s].name;
    EXPECT_LT(miss(grad, expected_grad), 1e-12) << cpu.chain[s].name;
  }
  EXPECT_LT(miss(gpu.gradients, cpu.gradients), 1e-12);
}

TEST_P(OnGpu, SaveLevelsAndRepetitionsHaveTheSameBitsInEveryPrecision) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
    std::optional<torch::Dtype> compute;
    if (type != torch::kFloat32) compute = type;
    BoundModel model(config(), torch::kFloat32, 7, compute, kGpu);
    const Batch batch = on_gpu(random_batch(config(), 3, 10));
    const torch::Tensor expected = run_stages(model.chain, batch);
    const torch::Tensor gradients = model.gradients.clone();
    EXPECT_TRUE(gradients.isfinite().all().item<bool>());
    EXPECT_GT(gradients.abs().max().item<float>(), 0.0f);
    for (const SaveLevel level : {SaveLevel::all, SaveLevel::lean, SaveLevel::input}) {
      model.gradients.zero_();
      EXPECT_TRUE(run_stages(model.chain, batch, level).equal(expected)) << c10::toString(type);
      EXPECT_TRUE(model.gradients.equal(gradients)) << c10::toString(type) << " " << static_cast<int>(level);
    }
  }
}

TEST_P(OnGpu, NarrowTypesStayNearFp32) {
  const Batch batch = on_gpu(random_batch(config(), 3, 10));
  BoundModel wide(config(), torch::kFloat32, 7, {}, kGpu);
  const torch::Tensor expected = run_stages(wide.chain, batch).cpu();
  for (const auto& [type, tolerance] : {std::pair{torch::kBFloat16, 3e-2}, std::pair{torch::kFloat16, 5e-3}}) {
    BoundModel narrow(config(), torch::kFloat32, 7, type, kGpu);
    narrow.values.copy_(wide.values);
    narrow.computed.copy_(narrow.values);
    EXPECT_LT(miss(run_stages(narrow.chain, batch), expected), tolerance);
    EXPECT_LT(miss(narrow.gradients, wide.gradients.cpu()), tolerance) << c10::toString(type);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, OnGpu, testing::Values(Family::gpt2, Family::llama, Family::postnorm), family_name);

TEST(DropoutOnGpu, DrawsTheBitsOfTheCpu) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA build and a device";
  StageContext context{.seed = 7, .step = 3, .first_sequence = int64_t{1} << 33, .stage = 5, .training = true};
  const Dropout dropout{0.3, DropoutSite::feed_forward};
  for (const auto type : {torch::kFloat32, torch::kFloat64, torch::kBFloat16, torch::kFloat16}) {
    for (const int64_t width : {1, 3, 8, 130}) {
      const torch::Tensor residual = torch::randn({3, 7, width}).to(type), value = torch::randn({3, 7, width}).to(type);
      torch::Tensor on_cpu = value.clone(), there = value.to(kGpu);
      dropout.add_residual_(on_cpu, residual, context);
      dropout.add_residual_(there, residual.to(kGpu), context);
      EXPECT_TRUE(torch::equal(on_cpu, there.cpu())) << c10::toString(type) << " width " << width;
      EXPECT_TRUE(torch::equal(dropout.backward(value, context), dropout.backward(value.to(kGpu), context).cpu()));
    }
  }
}

}  // namespace
}  // namespace reprise
