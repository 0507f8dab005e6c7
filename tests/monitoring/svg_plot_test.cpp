#include "monitoring/svg_plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "monitoring/svg_canvas.h"

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
      if (entity != "&amp" && entity != "&lt" && entity != "&gt" && entity != "&quot") {
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

Plot loss_plot() {
  Plot plot;
  plot.title = "first: loss";
  plot.x_title = "step";
  plot.y_title = "loss (nats per byte)";
  Series training{"training", {}, {}}, held_out{"held out", {}, {}};
  held_out.marks = true;
  for (int step = 1; step <= 600; ++step) {
    training.x.push_back(step);
    training.y.push_back(1.6 + 4 * std::exp(-step / 40.0) + 0.05 * std::sin(7.0 * step));
    if (step % 100 != 0) continue;
    held_out.x.push_back(step);
    held_out.y.push_back(1.7);
  }
  plot.series = {training, held_out};
  return plot;
}

LanesDrawing timeline() {
  LanesDrawing drawing;
  drawing.title = "one step";
  drawing.lane_names = {"compute", "wire"};
  drawing.kind_names = {"forward", "recompute", "backward", "bucket"};
  drawing.events = {{0, 0, 0.1, 0, "head"}, {0, 0.1, 0.3, 2, "head"}, {1, 0.3, 0.301, 3, "bucket 0"}};
  drawing.curve_title = "memory (MiB)";
  drawing.curve_seconds = {0, 0.1, 0.3};
  drawing.curve_values = {100, 300, 100};
  drawing.budget = 320;
  return drawing;
}

TEST(SvgPlot, CarriesTitlesLegendAndSeries) {
  const std::string svg = draw_plot(loss_plot());
  EXPECT_TRUE(is_well_formed(svg));
  for (const char* text : {">first: loss<", ">step<", ">loss (nats per byte)<", ">training<", ">held out<", ">600<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(count(svg, "h7v7h-7z"), 7u);  // six marks of the second style and its legend
}

TEST(SvgPlot, TheSameNumbersGiveTheSameText) {
  EXPECT_EQ(draw_plot(loss_plot()), draw_plot(loss_plot()));
  EXPECT_EQ(draw_lanes(timeline()), draw_lanes(timeline()));
}

TEST(SvgPlot, OneSeriesNeedsNoLegend) {
  Plot plot = loss_plot();
  plot.series.pop_back();
  EXPECT_EQ(draw_plot(plot).find(">training<"), std::string::npos);
}

TEST(SvgPlot, TextIsEscaped) {
  Plot plot;
  plot.title = "a<b & \"c\">d\x01";
  plot.series = {{"x<y", {1}, {1}}, {"&", {2}, {2}}};
  plot.series[0].labels = {"<none>"};
  const std::string svg = draw_plot(plot);
  EXPECT_TRUE(is_well_formed(svg));
  EXPECT_NE(svg.find("a&lt;b &amp; &quot;c&quot;&gt;d <"), std::string::npos) << svg;
  EXPECT_NE(svg.find(">&lt;none&gt;<"), std::string::npos);
}

TEST(SvgPlot, PointsThatCannotBeDrawnAreGaps) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  Plot plot;
  plot.series = {{"loss", {1, 2, 3, 4, 5, 6, 7, 8}, {1, 2, nan, 3, infinity, 4, 5, 6}}};
  const std::string svg = draw_plot(plot);
  EXPECT_TRUE(is_well_formed(svg));
  const size_t path = svg.find("<path d=\"M", svg.find("</defs>"));
  const std::string data = svg.substr(path, svg.find("fill=", path) - path);
  EXPECT_EQ(count(data, "M"), 3u) << data;  // 1-2, 4 alone, 6-8
  EXPECT_EQ(count(data, "L"), 3u) << data;
  EXPECT_EQ(count(svg, "a4 4 0 1 0 8 0"), 1u);  // the lone point is a mark
}

TEST(SvgPlot, NothingToDrawIsSaid) {
  Plot empty;
  Plot negative;
  negative.log_x = negative.log_y = true;
  negative.series = {{"below zero", {-1, 1}, {1, -1}}};
  for (const Plot& plot : {empty, negative}) {
    const std::string svg = draw_plot(plot);
    EXPECT_TRUE(is_well_formed(svg));
    EXPECT_NE(svg.find(">no data<"), std::string::npos);
  }
  EXPECT_TRUE(is_well_formed(draw_lanes({})));
}

TEST(SvgPlot, ListsOfDifferentLengthAreRefused) {
  Plot plot;
  plot.series = {{"loss", {1, 2}, {1}}};
  EXPECT_THROW(draw_plot(plot), std::logic_error);
}

TEST(SvgPlot, ALongRunGivesASmallFileThatKeepsItsExtremes) {
  Plot plot;
  plot.series = {{"loss", {}, {}}};
  for (int step = 0; step < 300000; ++step) {
    plot.series[0].x.push_back(step);
    plot.series[0].y.push_back(step == 123456 ? 9 : step == 200000 ? -9 : step % 2);
  }
  const std::string svg = draw_plot(plot);
  EXPECT_LT(svg.size(), 100000u);
  const Axis y({-9.9, 9.9}, false, 400, 42);  // a twentieth of air on both sides
  for (const double extreme : {9, -9}) {
    char pixel[16];
    std::snprintf(pixel, sizeof pixel, " %.2f", y.at(extreme));
    EXPECT_NE(svg.find(pixel), std::string::npos) << extreme << " at" << pixel;
  }
}

TEST(SvgPlot, LabelsDoNotCoverEachOther) {
  Plot plot;
  plot.title = "frontier";
  Series policies{"", {100, 100, 101}, {1, 1, 1}, false};
  policies.labels = {"none", "every: 2", "full"};
  plot.series = {policies, {"fastest", {50, 150}, {0.5, 1.5}}};
  const std::string svg = draw_plot(plot);
  std::vector<Box> boxes;
  for (const std::string& label : policies.labels) {
    const size_t text = svg.rfind("<text", svg.find(">" + label + "<"));
    double x = 0, y = 0;
    ASSERT_EQ(std::sscanf(svg.c_str() + text, "<text x=\"%lf\" y=\"%lf\"", &x, &y), 2);
    boxes.push_back({x, y - 11, x + text_width(label), y + 3});
  }
  for (size_t i = 0; i < boxes.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      EXPECT_TRUE(boxes[i].right <= boxes[j].left || boxes[j].right <= boxes[i].left ||
                  boxes[i].bottom <= boxes[j].top || boxes[j].bottom <= boxes[i].top)
          << policies.labels[i] << " covers " << policies.labels[j];
    }
  }
}

TEST(SvgAxis, TicksStandAtRoundNumbers) {
  using Labels = std::vector<std::string>;
  EXPECT_EQ(Axis({0, 600}, false, 0, 700).labels(), (Labels{"0", "100", "200", "300", "400", "500", "600"}));
  EXPECT_EQ(Axis({1.4, 2.6}, false, 200, 0).labels(), (Labels{"1.5", "2.0", "2.5"}));
  EXPECT_EQ(Axis({-0.3, 0.3}, false, 0, 300).labels(), (Labels{"-0.2", "0.0", "0.2"}));
  EXPECT_EQ(Axis({0, 300000}, false, 0, 300).labels(), (Labels{"0", "100k", "200k", "300k"}));
  EXPECT_EQ(Axis({1e-6, 3e-6}, false, 0, 300).labels(), (Labels{"1e-06", "2e-06", "3e-06"}));
  EXPECT_EQ(Axis({1, 100}, true, 0, 700).labels(), (Labels{"1", "2", "5", "10", "20", "50", "100"}));
  EXPECT_EQ(Axis({1, 1e12}, true, 0, 400).labels(), (Labels{"1", "1k", "1M", "1G", "1T"}));
  EXPECT_EQ(Axis({100, 300}, true, 0, 200).labels(), (Labels{"100", "200", "300"}));
}

TEST(SvgAxis, MapsEndsToEnds) {
  const Axis linear({2, 4}, false, 100, 0), logarithmic({1, 100}, true, 0, 100);
  EXPECT_DOUBLE_EQ(linear.at(2), 100);
  EXPECT_DOUBLE_EQ(linear.at(4), 0);
  EXPECT_DOUBLE_EQ(logarithmic.at(10), 50);
  EXPECT_TRUE(std::isfinite(Axis({5, 5}, false, 0, 100).at(5)));  // one value
  EXPECT_TRUE(std::isfinite(Axis({5, 5}, true, 0, 100).at(5)));
  EXPECT_TRUE(std::isfinite(Axis({}, true, 0, 100).at(1)));
}

TEST(SvgLanes, ShowLanesKindsCurveAndBudget) {
  const std::string svg = draw_lanes(timeline());
  EXPECT_TRUE(is_well_formed(svg));
  for (const char* text : {">one step<", ">compute<", ">wire<", ">forward<", ">backward<", ">bucket<", ">time (ms)<",
                           ">memory (MiB)<", ">budget 320<", ">compute, backward head: 100 to 300<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(svg.find(">recompute<"), std::string::npos);  // no event of that kind
  EXPECT_EQ(count(svg, ">head<"), 2u);
  EXPECT_EQ(svg.find(">bucket 0<"), std::string::npos);  // too narrow for its label
}

TEST(SvgLanes, ShortStepsAreToldInSmallerUnits) {
  LanesDrawing drawing = timeline();
  drawing.curve_seconds.clear();
  drawing.events = {{0, 0, 5e-4, 0, ""}};
  EXPECT_NE(draw_lanes(drawing).find(">time (µs)<"), std::string::npos);
  drawing.events = {{0, 0, 12, 0, ""}};
  EXPECT_NE(draw_lanes(drawing).find(">time (s)<"), std::string::npos);
}

TEST(SvgLanes, UnknownLanesAndKindsAreRefused) {
  LanesDrawing drawing = timeline();
  drawing.events[0].kind = 9;
  EXPECT_THROW(draw_lanes(drawing), std::logic_error);
  drawing = timeline();
  drawing.events[0].lane = 2;
  EXPECT_THROW(draw_lanes(drawing), std::logic_error);
}

}  // namespace
}  // namespace reprise
