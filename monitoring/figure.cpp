#include "monitoring/figure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "monitoring/format.h"

namespace reprise {
namespace {

constexpr double left_edge = 16, title_height = 32, gap = 26, axis_height = 50;  // pixels

constexpr std::array colours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"};
constexpr std::array dashes = {"none", "7 3", "2 3", "9 3 2 3", "14 4"};
constexpr std::array marks = {"M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "M-3.5 -3.5h7v7h-7z", "M0 -5l4.5 8h-9z",
                              "M0 -5l5 5l-5 5l-5 -5z", "M0 5l4.5 -8h-9z"};

bool is_drawable(const Point& p) { return std::isfinite(p.x + p.y + p.x_end + p.y_end); }

// From an axis's numbers to pixels: first the range of the data, then where it lies.
struct Scale {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  double pixel_low = 0, pixel_high = 0;
  std::vector<std::pair<double, std::string>> ticks = {};

  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  double at(double value) const { return pixel_low + (value - low) / (high - low) * (pixel_high - pixel_low); }
  // Numbers get air around them that does not cross zero, and ticks at 1, 2 or 5 times a power of ten.
  void place(const std::vector<std::string>& names, double first_pixel, double last_pixel) {
    pixel_low = first_pixel;
    pixel_high = last_pixel;
    for (const std::string& name : names) ticks.emplace_back(ticks.size(), name);
    if (!ticks.empty()) {
      low = -0.5;
      high = static_cast<double>(ticks.size()) - 0.5;
      return;
    }
    if (!(high - low > 1e-9 * std::abs(high))) add(0);  // no number, or one
    if (low == high) add(1);
    const double air = 0.04 * (high - low);
    low = low >= 0 ? std::max(0.0, low - air) : low - air;
    high += air;
    const double least = (high - low) / std::abs(pixel_high - pixel_low) * (pixel_low > pixel_high ? 40 : 80);
    const double decade = std::pow(10, std::floor(std::log10(least)));
    double step = decade;
    for (const int factor : {2, 5, 10}) step = step < least ? factor * decade : step;
    for (double k = std::ceil(low / step) + 0.0; k * step <= high; ++k) {  // + 0.0: no minus zero
      ticks.emplace_back(k * step, fmt::format("{:.6g}", k * step));
    }
  }
};

double text_width(const std::string& text) { return 7 * static_cast<double>(text_length(text)); }  // on the wide side

std::string text_at(double x, double y, const std::string& text, const char* anchor) {
  return fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escape_markup(text));
}

std::string path(const std::string& style, const std::string& data) {
  return data.empty() ? "" : fmt::format("<path style=\"{}\" d=\"{}\"/>\n", style, data);
}

// How the series at a place in the figure looks; adds what the style refers to. Without a name it is plain and black.
std::string style_of(std::string& svg, const Series& series, size_t index) {
  const char* const colour = series.name.empty() ? "#000" : colours[index % colours.size()];
  const char* const dash = series.name.empty() ? "none" : dashes[index % dashes.size()];
  if (series.shape == Shape::boxes) {  // a hatch is a white line over the colour; the first has none
    svg += fmt::format(
        R"-(<pattern id="hatch{0}" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate({1})">)-"
        R"-(<path d="M0 0h8v8h-8z" fill="{2}"/><path d="M0 0h{3}v8h-{3}z" fill="#fff"/></pattern>)-",
        index, 45 * index, colour, index == 0 ? 0 : 1.2);
    return fmt::format("fill: url(#hatch{}); stroke: #fff; stroke-width: 0.5", index);
  }
  svg += fmt::format(R"(<marker id="mark{}" markerUnits="userSpaceOnUse" overflow="visible">)"
                     R"(<path d="{}" fill="{}" stroke="#fff"/></marker>)",
                     index, marks[index % marks.size()], colour);
  const bool is_line = series.shape != Shape::points, is_marked = !is_line || series.shape == Shape::marked_line;
  return fmt::format(
      "fill: none; stroke: {}; stroke-width: 1.8; stroke-linecap: round; stroke-dasharray: {}; marker: {}",
      is_line ? colour : "none", dash, is_marked ? fmt::format("url(#mark{})", index) : "none");
}

// Of the points in one pixel column the first, lowest, highest and last are enough: a run of a million steps gives a
// small file. The round end of a line without length makes a point between two gaps a dot.
std::string joined(const Series& series, const Scale& x, const Scale& y) {
  const auto column = [&](const Point& p) { return is_drawable(p) ? std::floor(x.at(p.x)) : std::nan(""); };
  const auto is_lower = [](const Point& a, const Point& b) { return a.y < b.y; };
  constexpr const char* start = "M{:.2f} {:.2f}h0";
  const char* const joint = series.shape == Shape::steps ? "H{:.2f}V{:.2f}" : "L{:.2f} {:.2f}";
  const char* form = start;
  std::string data;
  for (auto first = series.points.begin(), next = first; first != series.points.end(); first = next) {
    next = std::find_if(first + 1, series.points.end(), [&](const Point& p) { return column(p) != column(*first); });
    const auto [low, high] = std::minmax_element(first, next, is_lower);
    for (const auto& p : std::set{first, low, high, next - 1}) {
      if (is_drawable(*p)) data += fmt::format(fmt::runtime(form), x.at(p->x), y.at(p->y));
      form = is_drawable(*p) ? joint : start;
    }
  }
  return data;
}

std::string boxes(const Series& series, const std::string& style, const Scale& x, const Scale& y) {
  std::string svg, labels;  // boxes may overlap; their labels stand above all of them
  for (const Point& p : series.points) {
    if (!is_drawable(p)) continue;
    const double left = x.at(p.x), right = std::max(x.at(p.x_end), left + 1.5), top = y.at(p.y_end), bottom = y.at(p.y);
    const std::string tooltip = fmt::format("{} {}: {:.4g} to {:.4g}", series.name, p.label, p.x, p.x_end);
    const std::string data = fmt::format("M{0:.2f} {1:.2f}H{2:.2f}V{3:.2f}H{0:.2f}z", left, top, right, bottom);
    svg += fmt::format("<g><title>{}</title>{}</g>\n", escape_markup(tooltip), path(style, data));
    if (text_width(p.label) > right - left) continue;
    labels += text_at((left + right) / 2, (top + bottom) / 2 + 4, p.label, "middle");
  }
  return svg + labels;
}

std::string axes(const Panel& panel, const Scale& x, const Scale& y) {
  const std::string grid = "stroke: #e4e4e4";
  std::string svg = text_at(left_edge, y.pixel_high - 8, panel.y_title, "start");
  for (const auto& [value, label] : x.ticks) {
    svg += path(grid, fmt::format("M{:.2f} {:.2f}V{:.2f}", x.at(value), y.pixel_low, y.pixel_high));
  }
  for (const auto& [value, label] : y.ticks) {
    svg += path(grid, fmt::format("M{:.2f} {:.2f}H{:.2f}", x.pixel_low, y.at(value), x.pixel_high));
    svg += text_at(x.pixel_low - 6, y.at(value) + 4, label, "end");
  }
  const std::string corner = fmt::format("M{:.2f} {:.2f}V{:.2f}", x.pixel_low, y.pixel_high, y.pixel_low);
  return svg + path("fill: none; stroke: #444", fmt::format("{}H{:.2f}", corner, x.pixel_high));
}

}  // namespace

std::string draw(const Figure& figure) {
  const double right = figure.width, bottom = figure.height - axis_height;
  double top = title_height, left = 0, legend = 24;
  Scale x;
  std::vector<Scale> ys;
  for (const Panel& panel : figure.panels) {
    Scale& y = ys.emplace_back();
    for (const Series& series : panel.series) {
      legend = std::max(legend, text_width(series.name) + 56);
      for (const Point& p : series.points) {
        if (!is_drawable(p)) continue;
        for (const double value : {p.x, p.x_end}) x.add(value);
        for (const double value : {p.y, p.y_end}) y.add(value);
      }
    }
    if (panel.from_zero) y.add(0);
    const double end = top + panel.share * (bottom - title_height);
    y.place(panel.y_names, end, top + gap);
    for (const auto& tick : y.ticks) left = std::max(left, left_edge + 6 + text_width(tick.second));
    top = end;
  }
  const bool is_empty = x.low > x.high;
  x.place(figure.x_names, left, right);

  // White behind the letters keeps them readable on top of lines.
  std::string svg =
      fmt::format(R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}">
<style>text {{font: 12px sans-serif; stroke: #fff; stroke-width: 3; paint-order: stroke}}</style>
<title>{2}</title><rect width="{0}" height="{1}" fill="#fff"/>
<text x="{3}" y="24" style="font-size: 15px; font-weight: bold">{2}</text>
)",
                  right + legend, figure.height, escape_markup(figure.title), left_edge);
  size_t index = 0;
  for (size_t i = 0; i < ys.size(); ++i) {
    svg += axes(figure.panels[i], x, ys[i]);
    double name_y = ys[i].pixel_high + 8;
    for (const Series& series : figure.panels[i].series) {
      const std::string style = style_of(svg, series, index++);
      const bool is_boxes = series.shape == Shape::boxes;
      const std::string shapes = is_boxes ? boxes(series, style, x, ys[i]) : path(style, joined(series, x, ys[i]));
      svg += shapes;
      if (shapes.empty() || series.name.empty()) continue;
      const char* const sample = is_boxes ? "M{:.2f} {:.2f}v-6h20v12h-20z" : "M{:.2f} {:.2f}h10h10";
      svg += path(style, fmt::format(fmt::runtime(sample), right + 16, name_y));
      svg += text_at(right + 46, name_y + 4, series.name, "start");
      name_y += 20;
    }
  }
  for (const auto& [value, label] : x.ticks) svg += text_at(x.at(value), bottom + 18, label, "middle");
  svg += text_at((left + right) / 2, bottom + 38, figure.x_title, "middle");
  if (is_empty) svg += text_at((left + right) / 2, bottom / 2, "no data", "middle");
  return svg + "</svg>\n";
}

}  // namespace reprise
