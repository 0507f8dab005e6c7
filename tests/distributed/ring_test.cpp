#include "distributed/ring.h"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cstring>
#include <set>

#include "distributed/sum_kernel.h"

namespace reprise {
namespace {

size_t total(const std::vector<Hop>& hops) {
  size_t elements = 0;
  for (const Hop& hop : hops) elements += hop.end - hop.begin;
  return elements;
}

void expect_matching(const RingSchedule& left, const RingSchedule& right) {
  ASSERT_EQ(left.sends.size(), right.receives.size());
  for (size_t i = 0; i < left.sends.size(); ++i) {
    EXPECT_LT(left.sends[i].begin, left.sends[i].end);
    EXPECT_EQ(left.sends[i].begin, right.receives[i].begin);
    EXPECT_EQ(left.sends[i].end, right.receives[i].end);
  }
}

TEST(RingSchedule, NeighboursMatchHopForHop) {
  for (const int size : {2, 3, 4, 7}) {
    for (const size_t count : {0, 1, 15, 16, 17, 100, 65537, 1000003}) {
      for (int rank = 0; rank < size; ++rank) {
        const int right = (rank + 1) % size;
        for (const size_t first : {0, 16, 8000, 1234560}) {
          expect_matching(sum_schedule(rank, size, count, 4, first), sum_schedule(right, size, count, 4, first));
        }
        for (int root = 0; root < size; ++root) {
          expect_matching(broadcast_schedule(rank, size, root, count, 4),
                          broadcast_schedule(right, size, root, count, 4));
        }
      }
    }
  }
}

TEST(RingSchedule, SumsMoveTheLeastBytesPossible) {
  for (const int size : {2, 4, 8}) {
    const size_t count = 1 << 20;
    const auto schedule = sum_schedule(1, size, count, 4);
    EXPECT_EQ(total(schedule.sends), 2 * count * (size - 1) / size);
    EXPECT_EQ(total(schedule.receives), 2 * count * (size - 1) / size);
  }
  EXPECT_TRUE(sum_schedule(0, 1, 1000, 4).sends.empty()) << "a group of one moves nothing";
}

// No send starts from a place that is still being added to, no receive lands on one that is still being sent.
TEST(RingSchedule, HopsWaitForThePlaceTheyTouch) {
  const auto schedule = sum_schedule(2, 5, 300000, 4);
  for (size_t s = 0; s < schedule.sends.size(); ++s) {
    for (size_t r = 0; r < schedule.receives.size(); ++r) {
      const Hop &send = schedule.sends[s], &receive = schedule.receives[r];
      if (send.begin != receive.begin) continue;
      const bool sum_leaves_complete = send.after > r;
      const bool receive_lands_after_send = receive.after > s;
      EXPECT_TRUE(sum_leaves_complete || (!receive.adds && receive_lands_after_send))
          << "send " << s << ", receive " << r;
    }
  }
}

TEST(SumKernel, RoundsLikeTheTensorLibrary) {
  const auto a = (torch::randn({4099}, torch::kFloat32) * 1000).to(torch::kBFloat16);
  const auto b = torch::randn({4099}, torch::kFloat32).to(torch::kBFloat16);
  auto sum = a.clone();
  sum_kernel_of(torch::kBFloat16)(sum.data_ptr(), b.data_ptr(), sum.numel());
  EXPECT_TRUE(torch::equal(sum, a + b));
}

TEST(SumKernel, KeepsInfinitiesAndNotANumber) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    auto a = torch::tensor({inf, inf, nan, 1.0f}).to(type);
    const auto b = torch::tensor({1.0f, -inf, 1.0f, nan}).to(type);
    sum_kernel_of(type)(a.data_ptr(), b.data_ptr(), 4);
    EXPECT_TRUE(a[0].isinf().item<bool>());
    EXPECT_TRUE(a.slice(0, 1).isnan().all().item<bool>());
  }
}

TEST(SumKernel, WholeNumbersWrap) {
  auto a = torch::tensor({std::numeric_limits<int64_t>::max()});
  const auto b = torch::tensor({int64_t{1}});
  sum_kernel_of(torch::kInt64)(a.data_ptr(), b.data_ptr(), 1);
  EXPECT_EQ(a.item<int64_t>(), std::numeric_limits<int64_t>::min());
}

}  // namespace
}  // namespace reprise
