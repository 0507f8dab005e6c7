#include "distributed/flat_layout.h"

#include <gtest/gtest.h>
#include <torch/utils.h>

#include <algorithm>
#include <random>

namespace reprise {
namespace {

std::vector<FlatEntry> random_table(std::mt19937& random) {
  std::vector<FlatEntry> table(1 + random() % 40);
  for (FlatEntry& entry : table) {
    entry = {static_cast<int64_t>(random() % (random() % 2 ? 50 : 5000)), static_cast<int>(random() % 9)};
  }
  return table;
}

TEST(FlatLayout, ExampleByHand) {
  const FlatLayout layout({{5, 0}, {16, 2}, {17, 1}, {1, 2}});
  EXPECT_EQ(layout.order, (std::vector<int>{1, 3, 2, 0}));
  EXPECT_EQ(layout.offset, (std::vector<int64_t>{64, 0, 32, 16}));
  EXPECT_EQ(layout.numel, 80);
}

TEST(FlatLayout, EntriesAreAlignedDisjointAndOrderedByStage) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const auto table = random_table(random);
    const FlatLayout layout(table);
    int64_t reached = 0;
    for (size_t i = 0; i < table.size(); ++i) {
      const int entry = layout.order[i];
      EXPECT_EQ(layout.offset[entry], reached);
      EXPECT_EQ(layout.offset[entry] % FlatLayout::kAlignment, 0);
      reached += (table[entry].numel + 15) / 16 * 16;
      if (i == 0) continue;
      const int before = layout.order[i - 1];
      const bool same_point = table[before].lowest_point == table[entry].lowest_point;
      EXPECT_TRUE(table[before].lowest_point > table[entry].lowest_point || (same_point && before < entry));
    }
    EXPECT_EQ(layout.numel, reached);
  }
}

TEST(FlatLayout, ViewsShareStorageAndVersionAndAreDetached) {
  const FlatLayout layout({{5, 0}, {16, 2}, {17, 1}});
  const auto flat = torch::arange(layout.numel, torch::kFloat32);
  const auto view = layout.view(flat, 2);  // (17)
  EXPECT_EQ(view.numel(), 17);
  EXPECT_EQ(view.const_data_ptr<float>(), flat.const_data_ptr<float>() + layout.offset[2]);
  EXPECT_FALSE(view.is_view());
  const auto version = view._version();
  flat.zero_();
  EXPECT_GT(view._version(), version);
  EXPECT_THROW(layout.view(torch::zeros({layout.numel + 1}), 0), std::invalid_argument);
}

TEST(Buckets, CoverTheLayoutWithinTheirCapsAndKnowTheirStages) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const auto table = random_table(random);
    const FlatLayout layout(table);
    const int64_t first_cap = 4 * (1 + random() % 3000), cap = 4 * (1 + random() % 9000);
    const auto buckets = make_buckets(layout, first_cap, cap, 4);
    int64_t reached = 0;
    int point = 1 << 30;
    for (size_t i = 0; i < buckets.size(); ++i) {
      const Bucket& bucket = buckets[i];
      EXPECT_EQ(bucket.begin, reached);
      EXPECT_EQ(bucket.end % 16, 0);
      const int64_t bytes = 4 * (bucket.end - bucket.begin);
      EXPECT_LE(bytes, std::max<int64_t>(64, i == 0 ? first_cap : cap));
      const bool is_last = i + 1 == buckets.size();
      EXPECT_TRUE(is_last || bytes + 64 > (i == 0 ? first_cap : cap)) << "no smaller than needed";
      int lowest = 1 << 30, highest = -1;
      for (size_t e = 0; e < table.size(); ++e) {
        const bool touches = layout.offset[e] < bucket.end && layout.offset[e] + table[e].numel > bucket.begin;
        if (!touches) continue;
        lowest = std::min(lowest, table[e].lowest_point);
        highest = std::max(highest, table[e].lowest_point);
      }
      EXPECT_EQ(bucket.lowest_point, lowest);
      EXPECT_EQ(bucket.highest_point, highest);
      EXPECT_LE(bucket.lowest_point, point);
      reached = bucket.end;
      point = bucket.lowest_point;
    }
    EXPECT_EQ(reached, layout.numel);
  }
}

TEST(Buckets, RefuseImpossibleCaps) {
  const FlatLayout layout({{100, 0}});
  EXPECT_THROW(make_buckets(layout, 0, 64, 4), std::invalid_argument);
  EXPECT_THROW(make_buckets(layout, 64, -1, 4), std::invalid_argument);
  EXPECT_EQ(make_buckets(layout, 1, 1, 4).size(), 7u) << "a cap below one alignment unit means one unit";
}

}  // namespace
}  // namespace reprise
