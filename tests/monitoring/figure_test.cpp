#include "monitoring/figure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

namespace reprise {
namespace {

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

// Balanced tags, quoted attributes, only known entities, no "nan" or "inf" among the numbers: enough for what we write.
testing::AssertionResult is_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  for (size_t at = 0; at < svg.size(); ++at) {
    if (svg[at] == '&') {
      const std::string entity = svg.substr(at, svg.find(';', at) - at);
      if (entity != "&#38" && entity != "&#60" && entity != "&#62" && entity != "&#34") {
        return testing::AssertionFailure() << "entity " << entity;
      }
    }
    if (svg[at] == '>') return testing::AssertionFailure() << "bare > at " << at;
    if (svg[at] != '<') continue;
    size_t end = at;
    for (bool in_quotes = false; end < svg.size() && (in_quotes || svg[end] != '>'); ++end) {
      if (svg[end] == '"') in_quotes = !in_quotes;
    }
    const std::string tag = svg.substr(at + 1, end - at - 1);
    if (tag.find("nan") != std::string::npos || tag.find("inf") != std::string::npos) {
      return testing::AssertionFailure() << "no number: " << tag;
    }
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag[0] == '/') {
      if (open.empty() || "/" + open.back() != tag) return testing::AssertionFailure() << "unexpected <" << tag << ">";
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    at = end;
  }
  return open.empty() ? testing::AssertionSuccess() : testing::AssertionFailure() << "left open: " << open.back();
}

// What stands in texts of an anchor: "end" is the labels of vertical axes, "middle" those of the horizontal one.
std::vector<std::string> texts(const std::string& svg, const std::string& anchor) {
  std::vector<std::string> all;
  const std::string opening = "text-anchor=\"" + anchor + "\">";
  for (size_t at = svg.find(opening); at != std::string::npos; at = svg.find(opening, at + 1)) {
    const size_t begin = at + opening.size();
    if (svg[begin] != '<') all.push_back(svg.substr(begin, svg.find('<', begin) - begin));
  }
  return all;
}

// The data of the first path drawn as a line.
std::string line_data(const std::string& svg) {
  const size_t path = svg.find(" d=\"", svg.find("<path style=\"fill: none; stroke: #0072B2"));
  return svg.substr(path + 4, svg.find('"', path + 4) - path - 4);
}

Figure loss_plot() {
  Series training{"training"}, held_out{"held out", Shape::marked_line};
  for (int step = 1; step <= 600; ++step) {
    training.points.push_back({double(step), 1.6 + 4 * std::exp(-step / 40.0) + 0.05 * std::sin(7.0 * step)});
    if (step % 100 == 0) held_out.points.push_back({double(step), 1.7});
  }
  return {.title = "first: loss",
          .x_title = "step",
          .panels = {{.y_title = "loss (nats per byte)", .series = {training, held_out}}}};
}

Figure timeline() {
  Series forward{"forward", Shape::boxes, {{0, 0.6, "head", 100, 1.4}}}, replay{"replay", Shape::boxes};
  Series bucket{"bucket", Shape::boxes, {{300, -0.4, "bucket 0", 301, 0.4}}};
  Series memory{"memory", Shape::steps, {{0, 100}, {100, 300}, {300, 100}}};
  Series budget{"budget 320", Shape::line, {{0, 320}, {301, 320}}};
  return {.title = "one step",
          .x_title = "time (ms)",
          .panels = {{.y_names = {"wire", "compute"}, .series = {forward, replay, bucket}, .share = 0.4},
                     {.y_title = "memory (MiB)", .series = {memory, budget}, .share = 0.6}}};
}

TEST(Figure, CarriesTitlesLegendAndSeries) {
  const std::string svg = draw(loss_plot());
  EXPECT_TRUE(is_well_formed(svg));
  for (const char* text : {">first: loss<", ">step<", ">loss (nats per byte)<", ">training<", ">held out<", ">600<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(count(svg, "marker: url(#mark1)"), 2u);  // the second series and its legend
  EXPECT_EQ(count(svg, "marker: none"), 2u);         // the first
}

TEST(Figure, TheSameNumbersGiveTheSameText) {
  EXPECT_EQ(draw(loss_plot()), draw(loss_plot()));
  EXPECT_EQ(draw(timeline()), draw(timeline()));
}

TEST(Figure, TextIsEscaped) {
  Figure figure{.title = "a<b & \"c\">d\x01"};
  figure.panels = {{.series = {{"x<y", Shape::boxes, {{0, 0, "<none>", 9, 1}}}}}};
  const std::string svg = draw(figure);
  EXPECT_TRUE(is_well_formed(svg));
  EXPECT_NE(svg.find("a&#60;b &#38; &#34;c&#34;&#62;d <"), std::string::npos) << svg;
  EXPECT_NE(svg.find(">&#60;none&#62;<"), std::string::npos);
}

TEST(Figure, PointsThatCannotBeDrawnAreGaps) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::string svg =
      draw({.panels = {{.series = {{"loss",
                                    Shape::line,
                                    {{1, 1}, {2, 2}, {3, nan}, {4, 3}, {5, infinity}, {6, 4}, {7, 5}, {8, 6}}}}}}});
  EXPECT_TRUE(is_well_formed(svg));
  const std::string data = line_data(svg);
  EXPECT_EQ(count(data, "M"), 3u) << data;  // 1-2, 4 alone, 6-8
  EXPECT_EQ(count(data, "L"), 3u) << data;
  EXPECT_EQ(count(data, "h0M"), 1u) << data;  // the lone point is a dot
}

TEST(Figure, StepsHoldTheirValueToTheNextPoint) {
  const std::string svg = draw({.panels = {{.series = {{"memory", Shape::steps, {{1, 1}, {2, 5}, {3, 2}}}}}}});
  double x[3], y[3];
  ASSERT_EQ(std::sscanf(line_data(svg).c_str(), "M%lf %lfh0H%lfV%lfH%lfV%lf", x, y, x + 1, y + 1, x + 2, y + 2), 6);
  EXPECT_LT(x[0], x[1]);
  EXPECT_NEAR(x[1] - x[0], x[2] - x[1], 0.02);
  EXPECT_NEAR(y[0] - y[1], 4 * (y[0] - y[2]), 0.05);
}

TEST(Figure, NothingToDrawIsSaid) {
  const double nan = std::nan("");
  for (const Figure& figure : {Figure{}, Figure{.panels = {{.series = {{"nothing", Shape::line, {{1, nan}}}}}}}}) {
    const std::string svg = draw(figure);
    EXPECT_TRUE(is_well_formed(svg));
    EXPECT_NE(svg.find(">no data<"), std::string::npos);
    EXPECT_EQ(svg.find(">nothing<"), std::string::npos);
  }
}

TEST(Figure, ALongRunGivesASmallFileThatKeepsItsExtremes) {
  Series loss{"loss"};
  for (int step = 0; step < 300000; ++step) {
    loss.points.push_back({double(step), step == 123456 ? 9.0 : step == 200000 ? -9.0 : step % 2});
  }
  const std::string svg = draw({.panels = {{.series = {loss}}}});
  EXPECT_LT(svg.size(), 100000u);
  // Both extremes reach the ends of the axis but for the air of a twenty-seventh of its length.
  double top = 0, bottom = 0;
  ASSERT_EQ(
      std::sscanf(svg.c_str() + svg.find("stroke: #444\" d=\"M"), "stroke: #444\" d=\"M%*f %lfV%lf", &top, &bottom), 2);
  for (const double extreme : {top + (bottom - top) / 27, bottom - (bottom - top) / 27}) {
    char pixel[16];
    std::snprintf(pixel, sizeof pixel, " %.2f", extreme);
    EXPECT_NE(line_data(svg).find(pixel), std::string::npos) << pixel;
  }
}

TEST(Figure, TicksStandAtRoundNumbers) {
  using Labels = std::vector<std::string>;
  const auto across = [](double low, double high) {
    return texts(draw({.panels = {{.series = {{"", Shape::line, {{low, 0}, {high, 0}}}}}}}), "middle");
  };
  const auto upwards = [](double low, double high) {
    return texts(draw({.panels = {{.series = {{"", Shape::line, {{0, low}, {0, high}}}}}}, .height = 300}), "end");
  };
  EXPECT_EQ(across(0, 600), (Labels{"0", "100", "200", "300", "400", "500", "600"}));
  EXPECT_EQ(upwards(1.4, 2.6), (Labels{"1.5", "2", "2.5"}));
  EXPECT_EQ(upwards(-0.3, 0.3), (Labels{"-0.2", "0", "0.2"}));
  EXPECT_EQ(across(0, 300000), (Labels{"0", "50000", "100000", "150000", "200000", "250000", "300000"}));
  EXPECT_EQ(upwards(0, 3e-6), (Labels{"0", "1e-06", "2e-06", "3e-06"}));
  EXPECT_EQ(upwards(5, 5), (Labels{"0", "2", "4"}));  // one value
  EXPECT_EQ(upwards(-5, -5), (Labels{"-4", "-2", "0"}));
  EXPECT_EQ(upwards(0, 0), (Labels{"0", "0.5", "1"}));
}

TEST(Figure, AnAxisMayBeginAtZeroWithoutANumberThere) {
  Panel panel{.y_title = "bytes", .series = {{"peak", Shape::line, {{1, 100}, {2, 104}}}}};
  const std::string near = draw({.title = "t", .x_title = "x", .panels = {panel}});
  panel.from_zero = true;
  const std::string from_zero = draw({.title = "t", .x_title = "x", .panels = {panel}});
  EXPECT_EQ(count(near, ">0</text>"), 0u);
  EXPECT_EQ(count(from_zero, ">0</text>"), 1u);
}

TEST(Figure, PanelsShareTheirHorizontalAxis) {
  const std::string svg = draw(timeline());
  EXPECT_TRUE(is_well_formed(svg));
  for (const char* text : {">one step<", ">forward<", ">bucket<", ">time (ms)<", ">memory (MiB)<", ">memory<",
                           ">budget 320<", ">forward head: 0 to 100<", ">bucket bucket 0: 300 to 301<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(texts(svg, "end")[0], "wire");
  EXPECT_EQ(texts(svg, "end")[1], "compute");
  EXPECT_EQ(svg.find(">replay<"), std::string::npos);  // no event of that kind
  EXPECT_EQ(count(svg, ">head<"), 1u);
  EXPECT_EQ(svg.find(">bucket 0<"), std::string::npos);  // too narrow for its label
}

TEST(Figure, ServesGroupedBarsWithWhiskers) {
  const double nan = std::nan("");
  const Series ours{"ours", Shape::boxes, {{-0.4, 0, "8", 0, 8}, {0.6, 0, "3", 1, 3}}};
  const Series theirs{"theirs", Shape::boxes, {{0, 0, "9", 0.4, 9}, {1, 0, "4", 1.4, 4}}};
  const Series whiskers{"", Shape::line, {{-0.2, 7}, {-0.2, 10}, {nan, nan}, {0.2, 8}, {0.2, 9.5}}};
  const std::string svg =
      draw({.x_names = {"none", "full"}, .panels = {{.y_title = "step (ms)", .series = {ours, theirs, whiskers}}}});
  EXPECT_TRUE(is_well_formed(svg));
  EXPECT_EQ(texts(svg, "middle"), (std::vector<std::string>{"8", "3", "9", "4", "none", "full"}));
  EXPECT_EQ(count(svg, "stroke: #000;"), 1u);  // black, and not in the legend
  EXPECT_EQ(texts(svg, "start"), (std::vector<std::string>{"step (ms)", "ours", "theirs"}));
}

}  // namespace
}  // namespace reprise
