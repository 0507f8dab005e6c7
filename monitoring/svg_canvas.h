#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace reprise {

// Pixels from the top left.
struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
};

// Okabe and Ito's colours, which colour-blind readers tell apart; styles repeat only after 120 indices.
// As attributes: stroke and dash, and fill.
std::string line_style(size_t index);
std::string hatch_fill(size_t index);

inline constexpr std::string_view axis_stroke = R"(stroke="#444")";
// White behind the letters keeps a label readable on top of lines.
inline constexpr std::string_view text_halo =
    R"(stroke="#fff" stroke-width="3" stroke-linejoin="round" paint-order="stroke")";

std::string short_number(double value, int digits);          // 1500 as "1.5k"
double text_width(std::string_view text, double size = 12);  // an estimate, on the wide side

// Collects SVG elements in drawing order. Attributes are taken as they are; text is escaped.
class SvgCanvas {
 public:
  SvgCanvas(int width, int height, std::string_view title);

  double width() const { return width_; }
  void line(double x1, double y1, double x2, double y2, std::string_view attributes);
  void rect(const Box& box, std::string_view attributes, std::string_view tooltip = "");
  void path(std::string_view data, std::string_view attributes);
  void text(double x, double y, std::string_view text, std::string_view attributes = "");
  void mark(double x, double y, size_t style);  // a shape of its own for each style
  std::string finish();

 private:
  double width_;
  std::string body_;
};

struct LegendEntry {
  std::string name;
  size_t style = 0;
  bool line = false, mark = false, hatch = false;
};

// Rows below the title; returns where they end. No entries take no room.
double draw_legend(SvgCanvas& canvas, const std::vector<LegendEntry>& entries);

// What an axis has to show.
struct Range {
  double low = 1, high = 0;  // nothing yet
  void add(double value);
  bool is_empty() const { return low > high; }
};

// From numbers to pixels along one direction, with ticks at round numbers. Vertical when pixel_low > pixel_high.
class Axis {
 public:
  Axis(Range range, bool is_log, double pixel_low, double pixel_high);

  double at(double value) const;
  const std::vector<double>& ticks() const { return ticks_; }
  const std::vector<std::string>& labels() const { return labels_; }
  double widest_label() const;

 private:
  void make_linear_ticks(double count);
  void make_log_ticks(double decades, double count);

  Range range_;
  bool is_log_;
  double pixel_low_, pixel_high_;
  std::vector<double> ticks_;
  std::vector<std::string> labels_;
};

void draw_x_axis(SvgCanvas& canvas, const Box& area, const Axis& axis, std::string_view title);
void draw_y_axis(SvgCanvas& canvas, const Box& area, const Axis& axis, std::string_view title);
// A named line across; returns the box of its name.
Box draw_budget(SvgCanvas& canvas, const Box& area, double y, std::string_view name);

}  // namespace reprise
