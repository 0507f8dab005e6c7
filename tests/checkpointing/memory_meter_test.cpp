#include "checkpointing/memory_meter.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <thread>
#include <vector>

#include "tests/checkpointing/fake_device.h"

namespace reprise {
namespace {

class Meter : public ::testing::Test {
 protected:
  void SetUp() override {
    MemoryMeter::install();
    before_ = MemoryMeter::current_bytes();
    MemoryMeter::reset_peak();
  }
  uint64_t current() const { return MemoryMeter::current_bytes() - before_; }
  uint64_t peak() const { return MemoryMeter::peak_bytes() - before_; }

 private:
  uint64_t before_ = 0;
};

TEST_F(Meter, InstallsOnceAndAgain) {
  EXPECT_TRUE(MemoryMeter::is_installed());
  MemoryMeter::install();
  EXPECT_TRUE(MemoryMeter::is_installed());
}

TEST_F(Meter, CountsBytesExactlyAndAligned) {
  {
    const torch::Tensor odd = torch::empty({1237}, torch::kUInt8);
    EXPECT_EQ(current(), 1237U);
    const torch::Tensor view = odd.narrow(0, 3, 100);
    EXPECT_EQ(current(), 1237U);
    const torch::Tensor fp64 = torch::empty({3, 5}, torch::kDouble);
    EXPECT_EQ(current(), 1237U + 120U);
    for (const torch::Tensor& tensor : {odd, fp64}) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 64, 0U);
    }
  }
  EXPECT_EQ(current(), 0U);
  EXPECT_EQ(peak(), 1237U + 120U);
}

TEST_F(Meter, EmptyTensorsCostNothing) {
  const torch::Tensor empty = torch::empty({0, 4});
  EXPECT_EQ(current(), 0U);
}

TEST_F(Meter, PeakIsTheHighestMomentSinceReset) {
  { const torch::Tensor first = torch::empty({1000}); }
  {
    const torch::Tensor second = torch::empty({700});
    EXPECT_EQ(peak(), 4000U);
    MemoryMeter::reset_peak();
    EXPECT_EQ(peak(), 2800U);
    const torch::Tensor third = torch::empty({10});
    EXPECT_EQ(peak(), 2840U);
  }
  EXPECT_EQ(current(), 0U);
}

TEST_F(Meter, ResizingInPlaceIsFollowed) {
  torch::Tensor tensor = torch::empty({10});
  tensor.resize_({1 << 20});
  EXPECT_EQ(current(), uint64_t{4} << 20);
  EXPECT_EQ(peak(), (uint64_t{4} << 20) + 40);  // both exist while the old bytes are copied
}

// gelu and linear may go through oneDNN, which takes its memory by raw_allocate.
TEST_F(Meter, SeesWhatOperationsAllocate) {
  {
    const torch::Tensor x = torch::randn({64, 256});
    const torch::Tensor w = torch::randn({512, 256});
    const uint64_t inputs = current();
    EXPECT_EQ(inputs, 4U * (64 * 256 + 512 * 256));
    const torch::Tensor a = at::linear(x, w);
    EXPECT_EQ(current(), inputs + 4U * 64 * 512);
    const torch::Tensor u = at::gelu(a, "tanh");
    EXPECT_EQ(current(), inputs + 8U * 64 * 512);
    const torch::Tensor b = at::gelu(a.to(torch::kBFloat16));
    EXPECT_EQ(current(), inputs + 10U * 64 * 512);
  }
  EXPECT_EQ(current(), 0U);
}

TEST_F(Meter, CountsAllThreads) {
  std::vector<std::thread> threads;
  std::vector<torch::Tensor> kept(4);
  for (size_t t = 0; t < kept.size(); ++t) {
    threads.emplace_back([&kept, t] {
      for (int i = 0; i < 2000; ++i) torch::empty({100 + i % 7});
      kept[t] = torch::empty({1000});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(current(), 4U * 4000);
  EXPECT_GE(peak(), 4U * 4000);
  EXPECT_LE(peak(), 4U * 4000 + 3 * 424);  // the last thread holds 1,000 elements at most beside what the others hold
  kept.clear();                            // freed by another thread than the one that made them
  EXPECT_EQ(current(), 0U);
}

TEST_F(Meter, FollowsADevicesAllocator) {
  static FakeDeviceAllocator allocator;
  c10::SetAllocator(FakeDevice::kType, &allocator);
  const torch::Tensor on_the_cpu = torch::empty({1000});
  EXPECT_EQ(MemoryMeter::idle_bytes(), 0U);
  MemoryMeter::follow(FakeDevice::device);
  allocator.allocated().increase(5000);
  allocator.allocated().decrease(2000);
  allocator.reserved().increase(7000);
  EXPECT_EQ(MemoryMeter::current_bytes(), 3000U);
  EXPECT_EQ(MemoryMeter::peak_bytes(), 5000U);
  EXPECT_EQ(MemoryMeter::idle_bytes(), 4000U);
  MemoryMeter::reset_peak();
  EXPECT_EQ(MemoryMeter::peak_bytes(), 3000U);
  MemoryMeter::follow(torch::kCPU);
  EXPECT_EQ(current(), 4000U);
}

}  // namespace
}  // namespace reprise
