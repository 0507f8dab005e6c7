#include "launcher/units.h"

#include <gtest/gtest.h>

namespace reprise {
namespace {

TEST(Units, BytesInBinaryAndDecimalUnits) {
  EXPECT_EQ(parse_bytes("123"), 123);
  EXPECT_EQ(parse_bytes("0"), 0);
  EXPECT_EQ(parse_bytes("64KiB"), 64 << 10);
  EXPECT_EQ(parse_bytes("25MiB"), 25 << 20);
  EXPECT_EQ(parse_bytes("3GiB"), int64_t{3} << 30);
  EXPECT_EQ(parse_bytes("1MB"), 1'000'000);
  EXPECT_EQ(parse_bytes("2kB"), 2'000);
  EXPECT_EQ(parse_bytes("7B"), 7);
  EXPECT_EQ(parse_bytes("1.5 GiB"), int64_t{3} << 29);
  EXPECT_EQ(parse_bytes("3.4MiB"), 3565158) << "rounded down";
}

TEST(Units, WhatIsNoByteCount) {
  for (const char* text :
       {"", "MiB", "25MiBx", "25 M", "-1", "-1MiB", "1e400", "0.3B", "0x10", "25mib", " 25", "nan", "1e30GiB"}) {
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
  }
}

TEST(Units, Durations) {
  EXPECT_EQ(parse_seconds("30s"), 30);
  EXPECT_EQ(parse_seconds("500ms"), 0.5);
  EXPECT_EQ(parse_seconds("2min"), 120);
  EXPECT_EQ(parse_seconds("1h"), 3600);
  EXPECT_EQ(parse_seconds("2.5"), 2.5);
  for (const char* text : {"", "s", "soon", "-1s", "30sec", "30ss", "inf", "3 0s"}) {
    EXPECT_EQ(parse_seconds(text), std::nullopt) << text;
  }
}

TEST(Units, Percent) {
  EXPECT_EQ(parse_percent("90%"), 0.9);
  EXPECT_EQ(parse_percent("100%"), 1.0);
  for (const char* text : {"90", "0%", "101%", "-5%", "%", "9 0%"})
    EXPECT_EQ(parse_percent(text), std::nullopt) << text;
}

TEST(Units, NumbersAreReadWhole) {
  EXPECT_EQ(parse_number("1e-3"), 1e-3);
  EXPECT_EQ(parse_number("300"), 300.0);
  EXPECT_EQ(parse_integer("-7"), -7);
  for (const char* text : {"1e-3x", "", "inf", "nan", "1 ", "0x1p3", "1_000"}) {
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
  }
  for (const char* text : {"1.0", "1e3", "9223372036854775808", "+1"})
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
}

TEST(Units, TextReadsBackExactly) {
  for (int64_t bytes :
       {int64_t{0}, int64_t{1}, int64_t{1023}, int64_t{1024}, int64_t{25} << 20, (int64_t{1} << 40) + 1}) {
    EXPECT_EQ(parse_bytes(bytes_text(bytes)), bytes) << bytes_text(bytes);
  }
  EXPECT_EQ(bytes_text(25 << 20), "25MiB");
  EXPECT_EQ(bytes_text(1000), "1000");
  for (double seconds : {30.0, 0.1, 1.0 / 3, 1e-7, 86400.0}) EXPECT_EQ(parse_seconds(seconds_text(seconds)), seconds);
  for (double value : {1e-3, 0.1 + 0.2, 1e300, 5e-324}) EXPECT_EQ(parse_number(number_text(value)), value);
}

}  // namespace
}  // namespace reprise
