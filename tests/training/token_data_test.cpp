#include "training/token_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "tests/training/shards.h"
#include "training/dataset.h"
#include "training/errors.h"

namespace reprise {
namespace {

std::vector<int64_t> window_of(const TokenShards& shards, int64_t index, int64_t length, int64_t vocabulary = 257) {
  std::vector<int64_t> window(static_cast<size_t>(length));
  shards.read_window(index, length, vocabulary, window.data());
  return window;
}

TEST(TokenShards, WindowsShareOneTokenAndStayWithinAShard) {
  const Scratch scratch;
  put_shard(scratch / "train_000001.bin", counting(100, 9));
  put_shard(scratch / "train_000000.bin", counting(0, 8));
  put_shard(scratch / "validation_000000.bin", counting(200, 5));
  put(scratch / "train_notes.txt", "not a shard");
  const TokenShards shards(scratch.path(), "train");
  EXPECT_EQ(shards.tokens(), 17);
  EXPECT_EQ(shards.windows(5), 1 + 2);
  EXPECT_EQ(window_of(shards, 0, 5), (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(window_of(shards, 1, 5), (std::vector<int64_t>{100, 101, 102, 103, 104}));
  EXPECT_EQ(window_of(shards, 2, 5), (std::vector<int64_t>{104, 105, 106, 107, 108}));
  EXPECT_THROW(window_of(shards, 3, 5), std::out_of_range);
}

TEST(TokenShards, KnowsWhenASequenceDoesNotFit) {
  const Scratch scratch;
  put_shard(scratch / "train_000000.bin", counting(0, 8));
  const TokenShards shards(scratch.path(), "train");
  EXPECT_EQ(shards.windows(8), 1);
  const std::string message = message_of<DataError>([&] { shards.windows(9); });
  EXPECT_TRUE(has(message, "needs 9 tokens in one shard, the longest has 8")) << message;
}

TEST(TokenShards, NamesFilePlaceAndValueOfATokenBeyondTheVocabulary) {
  const Scratch scratch;
  std::vector<uint16_t> tokens(20, 256);
  tokens[13] = 257;
  put_shard(scratch / "train_000000.bin", tokens);
  const TokenShards shards(scratch.path(), "train");
  EXPECT_NO_THROW(window_of(shards, 1, 5));
  const std::string message = message_of<DataError>([&] { window_of(shards, 3, 5); });
  EXPECT_TRUE(has(message, scratch / "train_000000.bin")) << message;
  EXPECT_TRUE(has(message, "token 13 is 257")) << message;
  EXPECT_NO_THROW(window_of(shards, 3, 5, 258));
}

TEST(TokenShards, RefusesMissingFilesAndFolders) {
  const Scratch scratch;
  EXPECT_TRUE(has(message_of<DataError>([&] { TokenShards(scratch.path(), "train"); }), "no train shards"));
  EXPECT_TRUE(has(message_of<DataError>([&] { TokenShards(scratch / "none", "train"); }), "none"));
}

TEST(TokenShards, NoticesAShardThatIsMissingByTheDatasetsCount) {
  const Scratch scratch;
  put_shard(scratch / "train_000000.bin", counting(0, 8));
  put_shard(scratch / "train_000001.bin", counting(0, 8));
  write_dataset_info(scratch.path(), {.tokenizer = "bytes", .train_tokens = 16, .validation_tokens = 1});
  EXPECT_EQ(TokenShards(scratch.path(), "train").tokens(), 16);
  std::filesystem::remove(scratch / "train_000001.bin");
  EXPECT_TRUE(has(message_of<DataError>([&] { TokenShards(scratch.path(), "train"); }), "promises 16"));
}

std::vector<int64_t> order_of(uint64_t seed, int64_t windows, int64_t epoch) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < windows; ++i) order.push_back(shuffled_window(seed, windows, epoch * windows + i));
  return order;
}

TEST(ShuffledWindow, VisitsEveryWindowOncePerEpoch) {
  std::vector<int64_t> sizes{255, 256, 257, 1000, 4096, 65'537};
  for (int64_t size = 1; size <= 70; ++size) sizes.push_back(size);
  for (const int64_t size : sizes) {
    for (const int64_t epoch : {0, 1, 5}) {
      std::vector<int64_t> order = order_of(42, size, epoch);
      std::sort(order.begin(), order.end());
      for (int64_t i = 0; i < size; ++i)
        ASSERT_EQ(order[static_cast<size_t>(i)], i) << size << " windows, epoch " << epoch;
    }
  }
}

TEST(ShuffledWindow, EpochsAndSeedsDiffer) {
  const std::vector<int64_t> order = order_of(42, 1000, 0);
  EXPECT_NE(order, order_of(42, 1000, 1));
  EXPECT_NE(order, order_of(43, 1000, 0));
  EXPECT_NE(order_of(42, 1000, 1), order_of(43, 1000, 0));
  EXPECT_EQ(order, order_of(42, 1000, 0));
}

// Random orders would show each of the six as often, give or take; a poor key schedule misses some.
TEST(ShuffledWindow, ThreeWindowsComeInAllOrders) {
  std::map<std::vector<int64_t>, int> seen;
  for (int64_t epoch = 0; epoch < 6000; ++epoch) ++seen[order_of(7, 3, epoch)];
  EXPECT_EQ(seen.size(), 6u);
  for (const auto& [order, times] : seen) EXPECT_NEAR(times, 1000, 250) << order[0] << order[1] << order[2];
}

// For a random permutation of n, the correlation of position and window has deviation 1/sqrt(n), as has that of
// neighbours; and about one window in n stays in its place.
TEST(ShuffledWindow, LooksRandom) {
  constexpr int64_t kWindows = 10'000;
  for (const uint64_t seed : {0, 1, 2, 3}) {
    const std::vector<int64_t> order = order_of(seed, kWindows, 0);
    const double middle = (kWindows - 1) / 2.0, variance = (double{kWindows} * kWindows - 1) / 12;
    double with_position = 0, with_neighbour = 0;
    int fixed = 0;
    for (int64_t i = 0; i < kWindows; ++i) {
      const double window = static_cast<double>(order[static_cast<size_t>(i)]) - middle;
      const double next = static_cast<double>(order[static_cast<size_t>((i + 1) % kWindows)]) - middle;
      with_position += window * (static_cast<double>(i) - middle);
      with_neighbour += window * next;
      fixed += order[static_cast<size_t>(i)] == i;
    }
    EXPECT_LT(std::abs(with_position / kWindows / variance), 0.045);
    EXPECT_LT(std::abs(with_neighbour / kWindows / variance), 0.045);
    EXPECT_LE(fixed, 8);
  }
}

// A split whose windows can be told apart: window w of `context` 4 begins with token 4·w.
class BatchSourceTest : public testing::Test {
 protected:
  static constexpr int64_t kContext = 4, kWindows = 13;
  BatchSourceTest() {
    put_shard(scratch_ / "train_000000.bin", counting(0, kContext * kWindows + 1));
    shards_.emplace(scratch_.path(), "train");
  }

  BatchPlan plan(int64_t global, int64_t micro, int rank = 0, int ranks = 1) const {
    return {global, micro, kContext, /*vocabulary=*/257, rank, ranks, /*seed=*/5};
  }

  // What the batch must hold, said by sample number alone.
  void expect_samples(const Batch& batch, int64_t first_sample) const {
    ASSERT_EQ(batch.first_sequence, first_sample);
    ASSERT_TRUE(batch.tokens.is_contiguous() && batch.targets.is_contiguous());
    for (int64_t b = 0; b < batch.tokens.size(0); ++b) {
      const int64_t first = kContext * shuffled_window(5, kWindows, first_sample + b);
      EXPECT_TRUE(batch.tokens[b].equal(torch::arange(first, first + kContext)));
      EXPECT_TRUE(batch.targets[b].equal(torch::arange(first + 1, first + 1 + kContext)));
    }
  }

  Scratch scratch_;
  std::optional<TokenShards> shards_;
};

TEST_F(BatchSourceTest, RanksAndMicroBatchesOnlyPartitionTheOrder) {
  constexpr int64_t kGlobal = 8;
  for (const int ranks : {1, 2, 4}) {
    for (const int64_t micro : {1, 2}) {
      for (int rank = 0; rank < ranks; ++rank) {
        BatchSource source(*shards_, plan(kGlobal, micro, rank, ranks));
        for (int64_t step = 0; step < 5; ++step) {  // 40 samples: three epochs
          for (int64_t q = kGlobal / ranks * rank; q < kGlobal / ranks * (rank + 1); q += micro) {
            const Batch batch = source.next();
            EXPECT_EQ(batch.step, step);
            expect_samples(batch, step * kGlobal + q);
          }
        }
      }
    }
  }
}

TEST_F(BatchSourceTest, AGlobalBatchMayHoldMoreThanAnEpoch) {
  BatchSource source(*shards_, plan(30, 30));
  expect_samples(source.next(), 0);
  expect_samples(source.next(), 30);
}

TEST_F(BatchSourceTest, SeeksBothWays) {
  BatchSource source(*shards_, plan(8, 2, 1, 2));
  source.next();
  for (const int64_t step : {1000, 3, 0}) {
    source.seek(step);
    const Batch batch = source.next();
    EXPECT_EQ(batch.step, step);
    expect_samples(batch, step * 8 + 4);
  }
}

TEST_F(BatchSourceTest, CanBeDestroyedAtAnyTime) {
  for (int batches = 0; batches < 3; ++batches) {
    BatchSource source(*shards_, plan(8, 8));
    for (int i = 0; i < batches; ++i) source.next();
  }
}

TEST_F(BatchSourceTest, BatchesBelongToTheCaller) {
  BatchSource source(*shards_, plan(1, 1));
  const Batch first = source.next();
  const torch::Tensor copy = first.tokens.clone();
  for (int i = 0; i < 10; ++i) source.next();
  EXPECT_TRUE(first.tokens.equal(copy));
}

TEST_F(BatchSourceTest, ErrorsOfTheThreadComeOutOfNextUntilASeek) {
  BatchPlan small = plan(kWindows, 1);
  small.vocabulary = 53;  // the last token is 52
  EXPECT_NO_THROW({
    BatchSource source(*shards_, small);
    for (int i = 0; i < kWindows; ++i) source.next();
  });
  small.vocabulary = 52;
  BatchSource source(*shards_, small);
  int64_t good = 0;
  const std::string message = message_of<DataError>([&] {
    for (;; ++good) source.next();
  });
  EXPECT_LT(good, kWindows);
  EXPECT_TRUE(has(message, "token 52 is 52")) << message;
  EXPECT_THROW(source.next(), DataError);
  source.seek(0);
  int64_t again = 0;
  message_of<DataError>([&] {
    for (;; ++again) source.next();
  });
  EXPECT_EQ(again, good);
}

TEST_F(BatchSourceTest, RefusesSharesThatDoNotDivideAndSplitsWithoutWindows) {
  EXPECT_THROW(BatchSource(*shards_, plan(8, 1, 0, 3)), std::invalid_argument);
  EXPECT_THROW(BatchSource(*shards_, plan(8, 3, 0, 2)), std::invalid_argument);
  EXPECT_THROW(BatchSource(*shards_, plan(1, 1, 0, 2)), std::invalid_argument);
  EXPECT_THROW(BatchSource(*shards_, plan(0, 1)), std::invalid_argument);
  BatchPlan long_context = plan(1, 1);
  long_context.context = 1000;
  EXPECT_TRUE(has(message_of<DataError>([&] { BatchSource(*shards_, long_context); }), "needs 1001 tokens"));
}

}  // namespace
}  // namespace reprise
