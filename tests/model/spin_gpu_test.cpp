// ctest-labels: gpu
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>
#include <torch/types.h>

#include <chrono>

#include "tests/spin.h"

namespace reprise {
namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The instrument of every "the host does not wait" test: the call returns while the device is still busy, on the stream
// that it was given.
TEST(Spin, KeepsTheDeviceBusyAndNotTheHost) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
  const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
  const torch::Tensor made = torch::zeros({1}, torch::kCUDA);  // the device's context, outside the measurement
  torch::cuda::synchronize();
  const c10::Stream stream = guard.getStream({c10::kCUDA, 0});
  const double start = now_seconds();
  spin(500'000'000, guard.getStreamNativeHandle(stream));
  c10::Event end(c10::kCUDA);
  end.record(stream);
  EXPECT_FALSE(end.query());
  EXPECT_LT(now_seconds() - start, 0.1);
  end.synchronize();
  EXPECT_GT(now_seconds() - start, 0.15);
}

}  // namespace
}  // namespace reprise
