#include "monitoring/svg_canvas.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "monitoring/format.h"

namespace reprise {
namespace {

constexpr std::array<std::string_view, 8> colours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                     "#E69F00", "#56B4E9", "#000000", "#F0E442"};
constexpr std::string_view grid_stroke = R"(stroke="#e4e4e4")";
constexpr std::array<std::string_view, 5> dashes = {"none", "7 3", "2 3", "9 3 2 3", "14 4"};
// White lines over the colour; the first is plain.
constexpr std::array<std::string_view, 8> hatches = {"",       "M0 8L8 0",         "M0 0L8 8",     "M0 4H8",
                                                     "M4 0V8", "M0 8L8 0M0 0L8 8", "M0 4H8M4 0V8", "M3 3H5V5H3Z"};
constexpr std::array<std::string_view, 6> marks = {  // each about 8 pixels wide
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "m-3.5 -3.5h7v7h-7z",
    "m0 -5l4.5 8h-9z",
    "m0 -5l5 5l-5 5l-5 -5z",
    "m0 5l4.5 -8h-9z",
    "m-1.5 -4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z"};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;  // XML has no control characters
    }
  }
  return out;
}

}  // namespace

std::string line_style(size_t index) {
  return fmt::format(R"(fill="none" stroke="{}" stroke-width="1.8" stroke-linecap="round" stroke-dasharray="{}")",
                     colours[index % colours.size()], dashes[index % dashes.size()]);
}

std::string hatch_fill(size_t index) { return fmt::format("fill=\"url(#hatch{})\"", index % hatches.size()); }

std::string short_number(double value, int digits) {
  const double size = std::abs(value);
  if (size < 1e15 && size >= 1e3) {
    for (const auto& [unit, name] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
      if (size >= unit) return fmt::format("{:.{}g}{}", value / unit, digits, name);
    }
  }
  return fmt::format("{:.{}g}", value, digits);
}

double text_width(std::string_view text, double size) {
  return 0.58 * size * static_cast<double>(text_length(std::string(text)));
}

SvgCanvas::SvgCanvas(int width, int height, std::string_view title) : width_(width) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<title>{2}</title>\n<defs>\n",
      width, height, escaped(title));
  for (size_t i = 0; i < hatches.size(); ++i) {
    body_ += fmt::format(
        "<pattern id=\"hatch{0}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">"
        "<path d=\"M0 0H8V8H0Z\" fill=\"{1}\"/><path d=\"{2}\" stroke=\"#fff\" stroke-width=\"1.4\"/></pattern>\n",
        i, colours[i], hatches[i]);
  }
  body_ += "</defs>\n";
  rect({0, 0, width_, static_cast<double>(height)}, R"(fill="#fff")");
  text(16, 24, title, R"(font-size="15" font-weight="bold")");
}

void SvgCanvas::line(double x1, double y1, double x2, double y2, std::string_view attributes) {
  body_ +=
      fmt::format("<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" {}/>\n", x1, y1, x2, y2, attributes);
}

void SvgCanvas::rect(const Box& box, std::string_view attributes, std::string_view tooltip) {
  body_ += fmt::format("<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" {}", box.left, box.top,
                       std::max(box.right - box.left, 0.0), std::max(box.bottom - box.top, 0.0), attributes);
  body_ += tooltip.empty() ? "/>\n" : "><title>" + escaped(tooltip) + "</title></rect>\n";
}

void SvgCanvas::path(std::string_view data, std::string_view attributes) {
  if (!data.empty()) body_ += fmt::format("<path d=\"{}\" {}/>\n", data, attributes);
}

void SvgCanvas::text(double x, double y, std::string_view text, std::string_view attributes) {
  body_ += fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\" {}>{}</text>\n", x, y, attributes, escaped(text));
}

void SvgCanvas::mark(double x, double y, size_t style) {
  path(fmt::format("M{:.2f} {:.2f}{}", x, y, marks[style % marks.size()]),
       fmt::format(R"(fill="{}" stroke="#fff" stroke-width="0.8")", colours[style % colours.size()]));
}

std::string SvgCanvas::finish() { return std::move(body_) + "</svg>\n"; }

double draw_legend(SvgCanvas& canvas, const std::vector<LegendEntry>& entries) {
  constexpr double left = 16, row_height = 20, swatch = 28;
  double x = left, y = 44;
  for (const LegendEntry& entry : entries) {
    const double width = swatch + 6 + text_width(entry.name) + 14;
    if (x > left && x + width > canvas.width()) {
      x = left;
      y += row_height;
    }
    if (entry.hatch) canvas.rect({x, y - 6, x + swatch, y + 6}, hatch_fill(entry.style));
    if (entry.line) canvas.line(x, y, x + swatch, y, line_style(entry.style));
    if (entry.mark) canvas.mark(x + swatch / 2, y, entry.style);
    canvas.text(x + swatch + 6, y + 4, entry.name);
    x += width;
  }
  return entries.empty() ? 32 : y + row_height / 2;
}

void Range::add(double value) {
  if (!std::isfinite(value)) return;
  low = is_empty() ? value : std::min(low, value);
  high = low > high ? value : std::max(high, value);
}

Axis::Axis(Range range, bool is_log, double pixel_low, double pixel_high)
    : range_(range), is_log_(is_log), pixel_low_(pixel_low), pixel_high_(pixel_high) {
  if (range_.is_empty()) range_ = is_log ? Range{1, 10} : Range{0, 1};
  // A single value gets room on both sides.
  const double size = std::max(std::abs(range_.low), std::abs(range_.high));
  if (size == 0) range_ = {0, 1};
  if (range_.high - range_.low <= 1e-9 * size) range_ = {range_.low - 0.1 * size, range_.high + 0.1 * size};
  const double length = std::abs(pixel_high - pixel_low);
  const double count = std::max(length / (pixel_low > pixel_high ? 45 : 90), 2.0);
  const double decades = is_log ? std::log10(range_.high / range_.low) : 0;
  if (decades > 0.8) {
    make_log_ticks(decades, count);
  } else {
    make_linear_ticks(count);
  }
}

void Axis::make_linear_ticks(double count) {
  const double raw = (range_.high - range_.low) / count;
  const double decade = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * decade;
  for (const double factor : {5, 2, 1}) {
    if (factor * decade >= raw) step = factor * decade;
  }
  const double first = std::ceil(range_.low / step - 1e-6) + 0.0;  // no minus zero
  for (double k = first; k * step <= range_.high + 1e-6 * step; ++k) ticks_.push_back(k * step);
  const double size = std::max(std::abs(range_.low), std::abs(range_.high));
  const int decimals = static_cast<int>(std::clamp(std::ceil(-std::log10(step) - 1e-6), 0.0, 12.0));
  for (const double tick : ticks_) {
    labels_.push_back(size >= 1e-3 && size < 1e4 ? fmt::format("{:.{}f}", tick, decimals) : short_number(tick, 9));
  }
}

void Axis::make_log_ticks(double decades, double count) {
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / count)));
  const bool is_dense = decades * 3 <= 1.5 * count;
  for (int power = static_cast<int>(std::floor(std::log10(range_.low))); std::pow(10, power) <= range_.high; ++power) {
    for (const int factor : {1, 2, 5}) {
      const double tick = factor * std::pow(10, power);
      const bool is_wanted = is_dense || (factor == 1 && power % stride == 0);
      if (is_wanted && tick >= range_.low * (1 - 1e-9) && tick <= range_.high * (1 + 1e-9)) ticks_.push_back(tick);
    }
  }
  for (const double tick : ticks_) labels_.push_back(short_number(tick, 9));
}

double Axis::at(double value) const {
  const double share = is_log_ ? std::log(value / range_.low) / std::log(range_.high / range_.low)
                               : (value - range_.low) / (range_.high - range_.low);
  return pixel_low_ + share * (pixel_high_ - pixel_low_);
}

double Axis::widest_label() const {
  double width = 0;
  for (const std::string& label : labels_) width = std::max(width, text_width(label));
  return width;
}

void draw_x_axis(SvgCanvas& canvas, const Box& area, const Axis& axis, std::string_view title) {
  for (size_t i = 0; i < axis.ticks().size(); ++i) {
    const double x = axis.at(axis.ticks()[i]);
    canvas.line(x, area.top, x, area.bottom, grid_stroke);
    canvas.line(x, area.bottom, x, area.bottom + 4, axis_stroke);
    canvas.text(x, area.bottom + 18, axis.labels()[i], R"(text-anchor="middle")");
  }
  canvas.line(area.left, area.bottom, area.right, area.bottom, axis_stroke);
  canvas.text((area.left + area.right) / 2, area.bottom + 37, title, R"(text-anchor="middle")");
}

void draw_y_axis(SvgCanvas& canvas, const Box& area, const Axis& axis, std::string_view title) {
  for (size_t i = 0; i < axis.ticks().size(); ++i) {
    const double y = axis.at(axis.ticks()[i]);
    canvas.line(area.left, y, area.right, y, grid_stroke);
    canvas.text(area.left - 6, y + 4, axis.labels()[i], R"(text-anchor="end")");
  }
  canvas.line(area.left, area.top, area.left, area.bottom, axis_stroke);
  const double middle = (area.top + area.bottom) / 2;
  canvas.text(20, middle, title, fmt::format(R"-(text-anchor="middle" transform="rotate(-90 20 {:.2f})")-", middle));
}

Box draw_budget(SvgCanvas& canvas, const Box& area, double y, std::string_view name) {
  canvas.line(area.left, y, area.right, y, R"(stroke="#000" stroke-width="1.4" stroke-dasharray="10 4")");
  canvas.text(area.right - 6, y - 5, name, fmt::format(R"(text-anchor="end" {})", text_halo));
  return {area.right - 6 - text_width(name), y - 17, area.right, y};
}

}  // namespace reprise
