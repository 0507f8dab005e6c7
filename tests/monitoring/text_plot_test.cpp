#include "monitoring/text_plot.h"

#include <gtest/gtest.h>

#include <limits>

#include "monitoring/format.h"

namespace reprise {
namespace {

using Lines = std::vector<std::string>;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(TextPlot, AFallingCurve) {
  const std::vector<Point> curve = {{1, 8}, {2, 6}, {3, 4}, {4, 2}, {5, 1}, {6, 1}, {7, 1}, {8, 0}};
  EXPECT_EQ(text_plot(curve, {{8, 8}}, 2, {.width = 17}), (Lines{"       8 █▄     o",  //
                                                                 "       0 ███▄▂▂▂▁", "         1      8"}));
  EXPECT_EQ(text_plot(curve, {}, 2, {.width = 17, .is_ascii = true}),
            (Lines{"       8 ##      ",  //
                   "       0 ####    ", "         1      8"}));
}

TEST(TextPlot, ManyPointsShareAColumnAndRarePointsFillSeveral) {
  std::vector<Point> many;
  for (int i = 0; i < 80000; ++i) many.push_back({static_cast<double>(i), i % 2 == 0 ? 0.0 : 2.0});
  many[0].y = 0, many[1].y = 0;  // so that the first column's mean is a little lower
  EXPECT_EQ(text_plot(many, {}, 1, {.width = 17})[0], "       2 ▄▄▄▄▄▄▄▄");
  EXPECT_EQ(text_plot({{1, 0}, {2, 1}}, {}, 1, {.width = 17})[0], "       1 ▁▁▁▁████");
}

TEST(TextPlot, PointsThatAreNoNumbersAreLeftOut) {
  EXPECT_TRUE(text_plot({}, {}, 4, {}).empty());
  EXPECT_TRUE(text_plot({{1, kNaN}}, {}, 4, {}).empty());
  const Lines lines = text_plot({{1, kNaN}, {2, 3}, {3, 1}, {9e18, kNaN}}, {{-9e18, kNaN}}, 1, {.width = 17});
  EXPECT_EQ(lines.at(0), "       3 ████▁▁▁ ");
  const Lines backwards = text_plot({{5, 1}, {1, 2}, {3, 3}}, {}, 3, {.width = 40});  // a damaged file
  for (const std::string& line : backwards) EXPECT_LE(text_length(line), 40);
}

TEST(TextPlot, BarsStayInTheirWidth) {
  EXPECT_EQ(text_bar(0.5, 4, {}), "██░░");
  EXPECT_EQ(text_bar(0.5, 4, {.is_ascii = true}), "##..");
  EXPECT_EQ(text_bar(7, 4, {.is_ascii = true}), "####");
  EXPECT_EQ(text_bar(-1, 4, {.is_ascii = true}), "....");
}

TEST(TextPlot, TextIsCutAndCannotCommandTheTerminal) {
  EXPECT_EQ(plain_text("\x1b[2Jrun\n\x7f", {}), " [2Jrun  ");
  EXPECT_EQ(plain_text("3 µs … ▁", {.is_ascii = true}), "3 us ? ?");
  EXPECT_EQ(plain_text("3 µs", {.width = 3}), "3 µ");
}

}  // namespace
}  // namespace reprise
