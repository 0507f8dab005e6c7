#include "distributed/gradient_reducer.h"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include <chrono>
#include <thread>

#include "tests/distributed/communicator_contract.h"
#include "tests/distributed/fake_device.h"
#include "tests/distributed/threads_communicator.h"

namespace reprise {
namespace {

constexpr int kPoints = 4;

const FlatLayout& layout() {
  static const FlatLayout value({{3000, 3}, {700, 2}, {1, 2}, {4000, 1}, {17, 1}, {5000, 0}});
  return value;
}

torch::Tensor gradient(int point, int64_t numel, int rank) { return contract::noise(numel, 7 * point + rank); }

// Writes point by point what a backward would, and says so.
void play_backward(GradientReducer& reducer, const torch::Tensor& flat, int rank) {
  for (int point = kPoints - 1; point >= 0; --point) {
    for (size_t entry = 0; entry < layout().entries.size(); ++entry) {
      const auto& [numel, lowest_point] = layout().entries[entry];
      if (lowest_point == point) layout().view(flat, static_cast<int>(entry)) += gradient(point, numel, rank);
    }
    reducer.point_final(point);
  }
}

torch::Tensor reduced(Communicator& communicator, int64_t first_bytes, int64_t bucket_bytes, bool overlap,
                      std::optional<torch::Dtype> travels_as = {}) {
  const auto flat = torch::full({layout().numel}, 99.0f);
  GradientReducer reducer(communicator, flat, make_buckets(layout(), first_bytes, bucket_bytes, travels_as ? 2 : 4),
                          kPoints, overlap, travels_as);
  for (int step = 0; step < 2; ++step) {
    reducer.begin_step();
    play_backward(reducer, flat, communicator.rank());
    reducer.finish();
  }
  return flat;
}

TEST(GradientReducer, SumsOverRanks) {
  for (const int size : {1, 2, 3}) {
    run_as_threads(size, [](Communicator& communicator) {
      const auto flat = reduced(communicator, 1024, 4096, true);
      for (size_t entry = 0; entry < layout().entries.size(); ++entry) {
        const auto& [numel, point] = layout().entries[entry];
        auto expected = torch::zeros({numel}, torch::kFloat64);
        for (int rank = 0; rank < communicator.size(); ++rank) expected += gradient(point, numel, rank);
        const auto got = layout().view(flat, static_cast<int>(entry)).to(torch::kFloat64);
        EXPECT_TRUE(torch::allclose(got, expected, 1e-6, 1e-4)) << "entry " << entry;
      }
    });
  }
}

TEST(GradientReducer, EveryCapAndOverlapGivesTheSameBits) {
  for (const int size : {1, 2, 3, 4}) {
    run_as_threads(size, [](Communicator& communicator) {
      const auto expected = reduced(communicator, 1 << 20, 1 << 20, true);
      for (const bool overlap : {true, false}) {
        for (const int64_t cap : {64, 1000, 4096, 20000}) {
          EXPECT_TRUE(contract::same_bits(reduced(communicator, cap / 2, cap, overlap), expected)) << "cap " << cap;
        }
      }
    });
  }
}

// Notes which elements were handed over; moves nothing.
class RecordingCommunicator : public Communicator {
 public:
  explicit RecordingCommunicator(torch::Tensor flat)
      : Communicator({.size = 2, .local_size = 2}), flat_(std::move(flat)) {}
  std::vector<std::pair<int64_t, int64_t>> started;
  std::vector<WireInterval> intervals;  // what the pendings report, in order
  size_t waited = 0, asked = 0;
  torch::Tensor expected;  // sums in it

  std::unique_ptr<Pending> start_sum(torch::Tensor part) override {
    const int64_t begin = part.storage_offset() - flat_.storage_offset();
    started.emplace_back(begin, begin + part.numel());
    const size_t index = started.size() - 1;
    return std::make_unique<Pending>(
        Pending{[=, this] { wait_for(index); }, [=, this] { return ++asked, intervals.at(index); }});
  }
  void broadcast(torch::Tensor, int) override {}
  void expect_sums_in(const torch::Tensor& buffer) override { expected = buffer; }
  void barrier() override {}
  void set_wait_limit(double, std::string) override {}
  void abort(const std::string&) noexcept override {}

 private:
  void wait_for(size_t index) {
    if (index == lost_at) throw PeerLost("rank 0 on here: no answer");
    ++waited;
  }

  torch::Tensor flat_;

 public:
  size_t lost_at = 1000;
};

TEST(GradientReducer, NarrowBucketsAreRoundedBeforeAndAfterTheSum) {
  run_as_threads(2, [](Communicator& communicator) {
    const auto flat = reduced(communicator, 1024, 4096, true, torch::kBFloat16);
    EXPECT_TRUE(torch::equal(flat, reduced(communicator, 64, 512, false, torch::kBFloat16)));
    for (size_t entry = 0; entry < layout().entries.size(); ++entry) {
      const auto& [numel, point] = layout().entries[entry];
      const auto own = [&, n = numel, s = point](int rank) { return gradient(s, n, rank).to(torch::kBFloat16); };
      EXPECT_TRUE(torch::equal(layout().view(flat, static_cast<int>(entry)), (own(0) + own(1)).to(torch::kFloat32)));
    }
  });
}

TEST(GradientReducer, NarrowBucketsOfThreeRanksDoNotDependOnTheirCaps) {
  run_as_threads(3, [](Communicator& communicator) {
    const auto flat = reduced(communicator, 1024, 4096, true, torch::kBFloat16);
    EXPECT_TRUE(torch::equal(flat, reduced(communicator, 64, 512, false, torch::kBFloat16)));
  });
}

TEST(GradientReducer, BucketsLeaveWithTheirLowestStage) {
  const auto flat = torch::zeros({layout().numel});
  const auto buckets = make_buckets(layout(), 2000, 4096, 4);
  for (const bool overlap : {true, false}) {
    RecordingCommunicator communicator(flat);
    communicator.intervals.resize(buckets.size());
    GradientReducer reducer(communicator, flat, buckets, kPoints, overlap);
    reducer.begin_step();
    for (int point = kPoints - 1; point >= 0; --point) {
      reducer.point_final(point);
      const auto final_buckets = std::count_if(buckets.begin(), buckets.end(),
                                               [&](const Bucket& bucket) { return bucket.lowest_point >= point; });
      EXPECT_EQ(communicator.started.size(), overlap ? static_cast<size_t>(final_buckets) : 0u);
      EXPECT_EQ(communicator.waited, 0u);
    }
    reducer.finish();
    EXPECT_EQ(communicator.waited, buckets.size());
    ASSERT_EQ(communicator.started.size(), buckets.size());
    for (size_t i = 0; i < buckets.size(); ++i) {
      EXPECT_EQ(communicator.started[i], std::make_pair(buckets[i].begin, buckets[i].end));
    }
  }
}

TEST(GradientReducer, RefusesAnyOtherOrder) {
  const auto flat = torch::zeros({layout().numel});
  RecordingCommunicator communicator(flat);
  communicator.intervals.resize(1);
  GradientReducer reducer(communicator, flat, make_buckets(layout(), 1 << 20, 1 << 20, 4), kPoints, true);
  EXPECT_THROW(reducer.finish(), std::logic_error);
  EXPECT_THROW(reducer.point_final(kPoints - 1), std::logic_error);
  reducer.begin_step();
  EXPECT_THROW(reducer.begin_step(), std::logic_error);
  EXPECT_THROW(reducer.point_final(kPoints), std::logic_error);
  EXPECT_THROW(reducer.point_final(kPoints - 2), std::logic_error);
  for (int point = kPoints - 1; point > 0; --point) reducer.point_final(point);
  EXPECT_THROW(reducer.point_final(1), std::logic_error) << "twice";
  EXPECT_THROW(reducer.finish(), std::logic_error) << "point 0 is not final";
  reducer.point_final(0);
  EXPECT_THROW(reducer.point_final(-1), std::logic_error);
  reducer.finish();
  EXPECT_THROW(reducer.finish(), std::logic_error);
  reducer.begin_step();
}

TEST(GradientReducer, RefusesBucketsThatDoNotFit) {
  const auto flat = torch::zeros({64});
  RecordingCommunicator communicator(flat);
  const auto make = [&](std::vector<Bucket> buckets) {
    GradientReducer(communicator, flat, std::move(buckets), 2, true);
  };
  make({{0, 32, 1, 1}, {32, 64, 0, 1}});
  EXPECT_THROW(make({{0, 32, 1, 1}}), std::invalid_argument) << "uncovered";
  EXPECT_THROW(make({{0, 32, 1, 1}, {48, 64, 0, 1}}), std::invalid_argument) << "gap";
  EXPECT_THROW(make({{0, 32, 0, 1}, {32, 64, 1, 1}}), std::invalid_argument) << "points rise";
  EXPECT_THROW(make({{0, 64, 2, 2}}), std::invalid_argument) << "no such point";
}

TEST(GradientReducer, CommSecondsAreTheUnionOfIntervals) {
  const auto flat = torch::zeros({64});
  RecordingCommunicator communicator(flat);
  communicator.intervals = {{0, 1, 3}, {0, 2, 4}, {0, 4, 5}, {0, 7, 8}};
  const std::vector<Bucket> buckets{{0, 16, 0, 0}, {16, 32, 0, 0}, {32, 48, 0, 0}, {48, 64, 0, 0}};
  GradientReducer reducer(communicator, flat, buckets, 1, true);
  reducer.begin_step();
  reducer.point_final(0);
  reducer.finish();
  EXPECT_EQ(reducer.times().comm_seconds, 5);
  EXPECT_EQ(reducer.times().buckets.size(), 4u);
}

TEST(GradientReducer, ExposedSecondsAreTheWaitInFinish) {
  run_as_threads(2, [](Communicator& communicator) {
    const auto flat = torch::zeros({layout().numel});
    GradientReducer reducer(communicator, flat, make_buckets(layout(), 4096, 4096, 4), kPoints, true);
    reducer.begin_step();
    if (communicator.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    play_backward(reducer, flat, communicator.rank());
    reducer.finish();
    EXPECT_TRUE(communicator.rank() == 1 || reducer.times().exposed_seconds > 0.08);
    EXPECT_GT(reducer.times().comm_seconds, 0);
  });
}

TEST(GradientReducer, OfADeviceTheHostWaitsForItOnlyWhenTimesAreAskedFor) {
  const auto values = torch::zeros({64});
  const auto flat = on_fake_device(values);
  RecordingCommunicator communicator(flat);
  communicator.intervals = {{0, 1, 3}, {0, 2, 4}};
  fake_device.take_log();
  GradientReducer reducer(communicator, flat, {{0, 32, 0, 0}, {32, 64, 0, 0}}, 1, true);
  EXPECT_EQ(communicator.expected.data_ptr(), flat.data_ptr());
  reducer.begin_step();
  reducer.point_final(0);
  reducer.finish();
  EXPECT_EQ(fake_device.take_log(), (std::vector<std::string>{"zeroes", "stream 0 records 1", "stream 0 records 2"}));
  EXPECT_EQ(communicator.asked, 0u);
  EXPECT_EQ(fake_device.host_waits, 0);
  EXPECT_EQ(reducer.times().comm_seconds, 3);
  EXPECT_EQ(reducer.times().exposed_seconds, 0.5);  // by the made-up device's clock
  EXPECT_EQ(communicator.asked, 2u) << "once for each bucket";
  EXPECT_EQ(fake_device.host_waits, 1);
}

TEST(GradientReducer, ALostPeerIsReportedWithItsBucket) {
  const auto flat = torch::zeros({layout().numel});
  const auto buckets = make_buckets(layout(), 4096, 4096, 4);
  RecordingCommunicator communicator(flat);
  communicator.intervals.resize(buckets.size());
  communicator.lost_at = 3;
  GradientReducer reducer(communicator, flat, buckets, kPoints, true);
  reducer.begin_step();
  play_backward(reducer, flat, 0);
  try {
    reducer.finish();
    FAIL();
  } catch (const PeerLost& lost) {
    EXPECT_EQ(lost.what(), "rank 0 on here: no answer, gradient bucket 3 of " + std::to_string(buckets.size()));
  }
}

}  // namespace
}  // namespace reprise
