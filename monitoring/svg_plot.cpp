#include "monitoring/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "monitoring/svg_canvas.h"

namespace reprise {
namespace {

struct Point {
  double x = 0, y = 0;
};

constexpr double gap = std::numeric_limits<double>::quiet_NaN();

bool is_drawable(double value, bool is_log) { return std::isfinite(value) && (!is_log || value > 0); }

// The data's range with a little air; the air does not cross zero.
Range padded(Range range, bool is_log, double share) {
  if (range.is_empty()) return range;
  if (is_log) {
    const double factor = std::pow(range.high / range.low, share);
    return {range.low / factor, range.high * factor};
  }
  const double air = share * (range.high - range.low);
  return {range.low >= 0 ? std::max(0.0, range.low - air) : range.low - air, range.high + air};
}

// Joined points; NaN interrupts. Of a run of points in one pixel column the first, lowest, highest and last are enough,
// so that a run of a million steps gives a file of the same size.
std::string joined(const std::vector<Point>& points) {
  std::string data;
  bool is_open = false;
  const auto add = [&](const Point& p) {
    data += fmt::format("{}{:.2f} {:.2f}", is_open ? 'L' : 'M', p.x, p.y);
    is_open = true;
  };
  for (size_t i = 0; i < points.size();) {
    size_t end = i + 1;
    while (end < points.size() && std::floor(points[end].x) == std::floor(points[i].x)) ++end;
    if (std::isnan(points[i].x)) {
      is_open = false;
    } else if (end - i <= 4) {
      for (size_t k = i; k < end; ++k) add(points[k]);
    } else {
      const auto [low, high] =
          std::minmax_element(points.begin() + static_cast<int64_t>(i), points.begin() + static_cast<int64_t>(end),
                              [](const Point& a, const Point& b) { return a.y < b.y; });
      add(points[i]);
      add(*std::min(low, high));
      add(*std::max(low, high));
      add(points[end - 1]);
    }
    i = end;
  }
  return data;
}

// No line shows a point between two gaps.
bool is_alone(const std::vector<Point>& points, size_t i) {
  return (i == 0 || std::isnan(points[i - 1].x)) && (i + 1 == points.size() || std::isnan(points[i + 1].x));
}

std::vector<Point> to_pixels(const Plot& plot, const Series& series, const Axis& x, const Axis& y) {
  std::vector<Point> points;
  for (size_t i = 0; i < series.x.size(); ++i) {
    const bool is_seen = is_drawable(series.x[i], plot.log_x) && is_drawable(series.y[i], plot.log_y);
    points.push_back(is_seen ? Point{x.at(series.x[i]), y.at(series.y[i])} : Point{gap, gap});
  }
  return points;
}

// Puts a label on the side of its point where it covers the fewest other points and labels.
class Labels {
 public:
  explicit Labels(const Box& area) : area_(area) {}
  void avoid(const Box& box) { taken_.push_back(box); }
  void place(SvgCanvas& canvas, const Point& p, const std::string& label) {
    const double width = text_width(label);
    double best_cost = std::numeric_limits<double>::infinity();
    Box best;
    for (const Point& corner :
         {Point{p.x + 8, p.y - 7}, Point{p.x - 8 - width, p.y - 7}, Point{p.x + 5, p.y - 21}, Point{p.x + 5, p.y + 7},
          Point{p.x - 5 - width, p.y - 21}, Point{p.x - 5 - width, p.y + 7}, Point{p.x - width / 2, p.y - 24},
          Point{p.x - width / 2, p.y + 10}}) {
      const Box box{corner.x, corner.y, corner.x + width, corner.y + 14};
      if (cost(box) < best_cost) best_cost = cost(box), best = box;
    }
    taken_.push_back(best);
    canvas.text(best.left, best.bottom - 3, label, text_halo);
  }

 private:
  double cost(const Box& box) const {
    const bool is_inside = box.left >= area_.left && box.right <= area_.right + 8 && box.top >= area_.top - 8 &&
                           box.bottom <= area_.bottom;
    return (is_inside ? 0 : 1e6) +
           static_cast<double>(std::count_if(taken_.begin(), taken_.end(), [&](const Box& other) {
             return box.left < other.right && other.left < box.right && box.top < other.bottom &&
                    other.top < box.bottom;
           }));
  }
  Box area_;
  std::vector<Box> taken_;
};

}  // namespace

std::string draw_plot(const Plot& plot, int width, int height) {
  SvgCanvas canvas(width, height, plot.title);
  std::vector<LegendEntry> entries;
  Range x_range, y_range;
  for (const Series& series : plot.series) {
    if (series.x.size() != series.y.size()) throw std::invalid_argument(series.name + ": x and y differ in length");
    entries.push_back({series.name, entries.size(), series.line, series.marks || !series.line});
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!is_drawable(series.x[i], plot.log_x) || !is_drawable(series.y[i], plot.log_y)) continue;
      x_range.add(series.x[i]);
      y_range.add(series.y[i]);
    }
  }
  if (entries.size() < 2) entries.clear();
  std::erase_if(entries, [](const LegendEntry& entry) { return entry.name.empty(); });
  Box area{0, draw_legend(canvas, entries) + 10, width - 24.0, height - 50.0};
  const Axis y(padded(y_range, plot.log_y, 0.05), plot.log_y, area.bottom, area.top);
  area.left = 40 + y.widest_label();
  const Axis x(padded(x_range, plot.log_x, 0.02), plot.log_x, area.left, area.right);
  draw_x_axis(canvas, area, x, plot.x_title);
  draw_y_axis(canvas, area, y, plot.y_title);

  Labels labels(area);
  std::vector<std::vector<Point>> pixels;
  for (const Series& series : plot.series) {
    const size_t style = pixels.size();
    const std::vector<Point>& points = pixels.emplace_back(to_pixels(plot, series, x, y));
    if (series.line) canvas.path(joined(points), line_style(style));
    for (size_t i = 0; i < points.size(); ++i) {
      const Point& p = points[i];
      if (std::isnan(p.x)) continue;
      if (series.marks || !series.line || is_alone(points, i)) canvas.mark(p.x, p.y, style);
      labels.avoid({p.x - 4, p.y - 4, p.x + 4, p.y + 4});
    }
  }
  for (size_t s = 0; s < pixels.size(); ++s) {
    for (size_t i = 0; i < plot.series[s].labels.size(); ++i) {
      if (!std::isnan(pixels[s].at(i).x)) labels.place(canvas, pixels[s][i], plot.series[s].labels[i]);
    }
  }
  if (x_range.is_empty()) canvas.text(area.left + 20, area.top + 30, "no data");
  return canvas.finish();
}

}  // namespace reprise
