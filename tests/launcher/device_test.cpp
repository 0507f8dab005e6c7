// Which device a rank takes, which NCCL is refused, and what a build without CUDA says; devices need a GPU.
#include "launcher/device.h"

#include <gtest/gtest.h>

#include "distributed/nccl_communicator.h"
#include "distributed/ring_communicator.h"
#include "tests/scratch.h"

namespace reprise {
namespace {

TEST(Device, RanksTakeTheDevicesOfTheirHostInTurn) {
  EXPECT_EQ(device_of(3, 8), 3);
  EXPECT_EQ(device_of(3, 1), 0);  // a scheduler that shows each its own
  EXPECT_EQ(device_of(3, 2), 1);
  EXPECT_EQ(device_of(0, 0), 0);
  EXPECT_EQ(find_shared_device({"a, 0", "a, 1", "b, 0"}), "");
  EXPECT_EQ(find_shared_device({"a, 0", "b, 0", "b, 0"}), "ranks 1 and 2 on one device (b, 0)");
}

TEST(Device, ThePeakIsThatOfItsNameAndOfTheTypeItComputesIn) {
  EXPECT_EQ(dense_peak("NVIDIA H100 80GB HBM3", "bf16"), 989e12);
  EXPECT_EQ(dense_peak("NVIDIA H100 PCIe", "bf16"), 756e12);
  EXPECT_EQ(dense_peak("NVIDIA A100-SXM4-40GB", "tf32"), 156e12);
  EXPECT_EQ(dense_peak("NVIDIA A100-SXM4-40GB", "fp32"), 19.5e12);
  EXPECT_EQ(dense_peak("NVIDIA H200", "fp16"), 989e12);
  EXPECT_EQ(dense_peak("NVIDIA Something", "fp16"), 0);
}

TEST(NcclFacts, OneNcclOfTheHeadersVersionIsAccepted) {
  const NcclFacts good{true, 22809, 22809, "/a/libnccl.so.2", {"/a/libnccl.so.2"}};
  const std::string advice = ": LD_LIBRARY_PATH or LD_PRELOAD may bring another";
  EXPECT_EQ(refusal_of(good), "");
  NcclFacts other = good;
  other.library_version = 22703;
  EXPECT_EQ(refusal_of(other), "expected NCCL 2.28.9, got 2.27.3 in /a/libnccl.so.2" + advice);
  other = good;
  other.loaded.push_back("/b/libnccl.so.2");
  EXPECT_EQ(refusal_of(other), "expected one NCCL in the process, got 2 (/a/libnccl.so.2, /b/libnccl.so.2)" + advice);
  other.loaded.clear();
  EXPECT_EQ(refusal_of(other), "expected one NCCL in the process, got 0 ()" + advice);
}

TEST(WithoutCuda, EverythingSaysSo) {
  if (nccl_facts().is_in_build) GTEST_SKIP() << "a CUDA build";
  EXPECT_EQ(visible_devices(), 0);
  EXPECT_EQ(message_of<std::runtime_error>([] { describe_device(0); }),
            "CUDA is not in this build; build with the preset cuda");
  const auto host = make_lone_communicator();
  EXPECT_EQ(message_of<std::runtime_error>([&] { make_nccl_communicator(*host, torch::kCPU, {}, 1); }),
            "NCCL is not in this build; build with the preset cuda");
}

}  // namespace
}  // namespace reprise
