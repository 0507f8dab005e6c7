#include "monitoring/format.h"

#include <gtest/gtest.h>

#include <limits>

namespace reprise {
namespace {

TEST(FormatBytes, ChoosesTheUnitAfterRounding) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(25ull << 20), "25.0 MiB");
  EXPECT_EQ(format_bytes((1ull << 20) - 1), "1.0 MiB");
  EXPECT_EQ(format_bytes(3ull << 30), "3.0 GiB");
  EXPECT_EQ(format_bytes(std::numeric_limits<uint64_t>::max()), "16.0 EiB");
}

TEST(FormatCounts, OneAfterTheOther) {
  EXPECT_EQ(format_counts({}), "");
  EXPECT_EQ(format_counts({{"spike", 2}, {"overflow", 1}}), "1 overflow, 2 spike");
}

TEST(FormatSeconds, EveryMagnitude) {
  EXPECT_EQ(format_seconds(0), "0 s");
  EXPECT_EQ(format_seconds(4.5e-9), "4.5 ns");
  EXPECT_EQ(format_seconds(12.3e-6), "12.3 µs");
  EXPECT_EQ(format_seconds(1.2e-3), "1.2 ms");
  EXPECT_EQ(format_seconds(0.99996), "1.0 s");
  EXPECT_EQ(format_seconds(3.4), "3.4 s");
  EXPECT_EQ(format_seconds(59.96), "1 min 0 s");
  EXPECT_EQ(format_seconds(125), "2 min 5 s");
  EXPECT_EQ(format_seconds(3599.6), "1 h 0 min");
  EXPECT_EQ(format_seconds(3 * 3600 + 7 * 60), "3 h 7 min");
  EXPECT_EQ(format_seconds(86399), "1 d 0 h");
  EXPECT_EQ(format_seconds(52 * 3600), "2 d 4 h");
  EXPECT_EQ(format_seconds(86400e9), "1e+09 d");
  EXPECT_EQ(format_seconds(-0.5), "-500.0 ms");
  EXPECT_EQ(format_seconds(std::numeric_limits<double>::infinity()), "inf s");
}

TEST(FormatCount, EveryMagnitude) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(7.25), "7.25");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(999.9), "1.0k");
  EXPECT_EQ(format_count(41230), "41.2k");
  EXPECT_EQ(format_count(999960), "1.0M");
  EXPECT_EQ(format_count(12.3e6), "12.3M");
  EXPECT_EQ(format_count(1.5e12), "1.5T");
  EXPECT_EQ(format_count(-1500), "-1.5k");
  EXPECT_EQ(format_count(std::numeric_limits<double>::quiet_NaN()), "nan");
}

TEST(CutText, CountsCharactersNotBytes) {
  EXPECT_EQ(text_length("12 µs"), 5);
  EXPECT_EQ(cut_text("12 µs left", 4), "12 µ");
  EXPECT_EQ(cut_text("12 µs", 5), "12 µs");
  EXPECT_EQ(cut_text("12 µs", 99), "12 µs");
  EXPECT_EQ(cut_text("µ", 0), "");
}

}  // namespace
}  // namespace reprise
