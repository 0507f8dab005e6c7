#pragma once

#include <string>
#include <vector>

namespace reprise {

// A small SVG writer for loss curves, frontiers, bars and timelines: pure functions from numbers to one
// self-contained SVG. Text stays text; colours are the Okabe–Ito set, told apart in print by dash, mark or hatch; a
// plot carries axis titles with units and, for two series or more, a legend outside the data. Points that cannot be
// drawn (NaN, infinite, not above zero on a logarithmic axis) are gaps. Lists that belong together have one length,
// else std::logic_error.
struct Series {
  std::string name;                  // empty: not in the legend
  std::vector<double> x, y;
  bool line = true;                  // joined points; otherwise marks
  bool marks = false;
  std::vector<std::string> labels;   // beside the points, where there is room; empty, or one per point
};

struct Plot {
  std::string title, x_title, y_title;
  std::vector<Series> series;
  bool log_x = false, log_y = false;
};

std::string draw_plot(const Plot& plot, int width = 800, int height = 450);

struct LaneEvent {
  int lane = 0;
  double start = 0, end = 0;         // seconds
  int kind = 0;                      // index into Timeline::kind_names
  std::string label;                 // drawn when it fits
};

// Lanes over time above an optional curve (memory) with a budget line; one time axis for both.
struct LanesDrawing {
  std::string title;
  std::vector<std::string> lane_names, kind_names;
  std::vector<LaneEvent> events;
  std::string curve_title;           // "memory (MiB)"
  std::vector<double> curve_seconds, curve_values;  // a step function
  double budget = 0;                 // in curve units; 0: none
};

std::string draw_lanes(const LanesDrawing& drawing, int width = 1100, int height = 420);

}  // namespace reprise
