#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "monitoring/svg_canvas.h"
#include "monitoring/svg_plot.h"

namespace reprise {
namespace {

constexpr double lane_gap = 8;

bool is_drawable(const LaneEvent& event) { return std::isfinite(event.start) && std::isfinite(event.end); }

// Units per second and the unit's name.
std::pair<double, const char*> time_unit(double seconds) {
  if (seconds < 2e-3) return {1e6, "µs"};
  if (seconds < 2) return {1e3, "ms"};
  return {1, "s"};
}

double last_second(const LanesDrawing& drawing) {
  double last = 0;
  for (const LaneEvent& event : drawing.events) {
    if (is_drawable(event)) last = std::max(last, event.end);
  }
  for (const double seconds : drawing.curve_seconds) last = std::max(last, seconds);
  return last;
}

void draw_events(SvgCanvas& canvas, const LanesDrawing& drawing, const Box& area, const Axis& x, double unit) {
  const double lane_height = (area.bottom - area.top) / static_cast<double>(drawing.lane_names.size());
  for (size_t lane = 0; lane < drawing.lane_names.size(); ++lane) {
    const double top = area.top + static_cast<double>(lane) * lane_height;
    canvas.rect({area.left, top, area.right, top + lane_height - lane_gap}, R"(fill="#000" fill-opacity="0.04")");
    canvas.text(area.left - 8, top + (lane_height - lane_gap) / 2 + 4, drawing.lane_names[lane],
                R"(text-anchor="end")");
  }
  for (const LaneEvent& event : drawing.events) {
    if (!is_drawable(event)) continue;
    const double top = area.top + event.lane * lane_height, bottom = top + lane_height - lane_gap;
    const double left = x.at(event.start * unit), right = std::max(x.at(event.end * unit), left + 0.8);
    canvas.rect({left, top, right, bottom},
                hatch_fill(static_cast<size_t>(event.kind)) + R"( stroke="#fff" stroke-width="0.5")",
                fmt::format("{}, {} {}: {:.4g} to {:.4g}", drawing.lane_names.at(static_cast<size_t>(event.lane)),
                            drawing.kind_names.at(static_cast<size_t>(event.kind)), event.label, event.start * unit,
                            event.end * unit));
    if (text_width(event.label, 10) + 4 > right - left) continue;
    canvas.text((left + right) / 2, (top + bottom) / 2 + 4, event.label,
                fmt::format(R"(text-anchor="middle" font-size="10" {})", text_halo));
  }
}

void draw_curve(SvgCanvas& canvas, const LanesDrawing& drawing, const Box& area, const Axis& x, double unit) {
  Range range{0, 0};
  for (const double value : drawing.curve_values) range.add(1.08 * value);
  range.add(1.15 * drawing.budget);  // its name stands above it
  const Axis y(range, false, area.bottom, area.top);
  draw_y_axis(canvas, area, y, drawing.curve_title);
  std::string data = fmt::format("M{:.2f} {:.2f}", x.at(drawing.curve_seconds[0] * unit), y.at(0));
  for (size_t i = 0; i < drawing.curve_seconds.size(); ++i) {
    data += fmt::format("H{:.2f}V{:.2f}", x.at(drawing.curve_seconds[i] * unit), y.at(drawing.curve_values.at(i)));
  }
  data += fmt::format("H{:.2f}", x.at(last_second(drawing) * unit));
  canvas.path(fmt::format("{}V{:.2f}Z", data, y.at(0)), R"(fill="#0072B2" fill-opacity="0.15")");
  canvas.path(data, line_style(0));
  if (drawing.budget > 0) draw_budget(canvas, area, y.at(drawing.budget), "budget " + short_number(drawing.budget, 4));
}

}  // namespace

std::string draw_lanes(const LanesDrawing& drawing, int width, int height) {
  SvgCanvas canvas(width, height, drawing.title);
  std::set<int> kinds;
  for (const LaneEvent& event : drawing.events) kinds.insert(event.kind);
  std::vector<LegendEntry> entries;
  for (const int kind : kinds) {
    entries.push_back(
        {drawing.kind_names.at(static_cast<size_t>(kind)), static_cast<size_t>(kind), false, false, true});
  }
  double name_width = 60;  // the curve's labels and title need as much
  for (const std::string& name : drawing.lane_names) name_width = std::max(name_width, text_width(name));

  const bool has_curve = !drawing.curve_seconds.empty();
  const Box area{name_width + 24, draw_legend(canvas, entries) + 8, width - 24.0, height - 50.0};
  Box lanes = area, curve = area;
  if (has_curve) {
    lanes.bottom =
        std::min(area.top + 48.0 * static_cast<double>(drawing.lane_names.size()), (area.top + area.bottom) / 2);
    curve.top = lanes.bottom + 6;
  }
  const auto [unit, unit_name] = time_unit(last_second(drawing));
  Range range{0, 0};
  range.add(last_second(drawing) * unit);
  const Axis x(range, false, area.left, area.right);
  draw_x_axis(canvas, area, x, fmt::format("time ({})", unit_name));
  draw_events(canvas, drawing, lanes, x, unit);
  if (has_curve) draw_curve(canvas, drawing, curve, x, unit);
  return canvas.finish();
}

}  // namespace reprise
