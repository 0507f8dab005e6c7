#include "monitoring/text_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "monitoring/format.h"

namespace reprise {

std::string plain_text(const std::string& text, const TextStyle& style) {
  std::string plain;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_first_of_many = byte >= 0xC0;  // bytes of a character beyond ASCII
    if (byte < 0x80 || !style.is_ascii)
      plain += byte < 0x20 || byte == 0x7F ? ' ' : c;
    else if (is_first_of_many)
      plain += byte == 0xC2 ? 'u' : '?';  // of these we write µ alone
  }
  return cut_text(plain, style.width);
}

std::string text_bar(double share, int width, const TextStyle& style) {
  const int filled = static_cast<int>(std::clamp(share, 0.0, 1.0) * width + 0.5);
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < filled ? (style.is_ascii ? "#" : "█") : (style.is_ascii ? "." : "░");
  return bar;
}

std::vector<std::string> text_plot(const std::vector<Point>& curve, const std::vector<Point>& marks, int height,
                                   const TextStyle& style) {
  constexpr int kMargin = 9;  // of the axis's numbers
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static const char* const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const int width = std::max(8, style.width - kMargin);
  double first = kInfinity, last = -kInfinity, low = kInfinity, high = -kInfinity;
  for (const auto* points : {&curve, &marks}) {
    for (const Point& p : *points) {
      if (!std::isfinite(p.y)) continue;
      first = std::min(first, p.x), last = std::max(last, p.x), low = std::min(low, p.y), high = std::max(high, p.y);
    }
  }
  if (first > last) return {};
  const auto column_of = [&](const Point& p) {
    return static_cast<int>(std::clamp((p.x - first) / (last - first + 1) * width, 0.0, width - 1.0));
  };
  const auto eighths_of = [&](double y) {
    return 1 + static_cast<int>(high > low ? (y - low) / (high - low) * (8 * height - 1) : 0);
  };

  std::vector<int> eighths(static_cast<size_t>(width), 0);
  for (auto point = curve.begin(); point != curve.end();) {
    const int column = column_of(*point);
    double sum = 0, count = 0;
    for (; point != curve.end() && column_of(*point) == column; ++point) {
      if (std::isfinite(point->y)) sum += point->y, ++count;
    }
    const int next = point == curve.end() ? width : std::max(column_of(*point), column + 1);  // rare points get wide
    if (count > 0) std::fill(eighths.begin() + column, eighths.begin() + next, eighths_of(sum / count));
  }
  std::vector<std::string> lines;
  for (int row = height - 1; row >= 0; --row) {  // from below
    const std::string number = row + 1 == height ? fmt::format("{:.4g}", high)
                               : row == 0        ? fmt::format("{:.4g}", low)
                                                 : "";
    std::string& line = lines.emplace_back(fmt::format("{:>{}} ", number, kMargin - 1));
    for (int column = 0; column < width; ++column) {
      const int filled = std::clamp(eighths[static_cast<size_t>(column)] - 8 * row, 0, 8);
      const bool is_marked = std::ranges::any_of(marks, [&](const Point& p) {
        return std::isfinite(p.y) && column_of(p) == column && (eighths_of(p.y) - 1) / 8 == row;
      });
      line += is_marked ? "o" : style.is_ascii ? (filled < 4 ? " " : "#") : blocks[filled];
    }
  }
  const std::string end = fmt::format("{:.0f}", last);
  lines.push_back(fmt::format("{:{}}{:<{}.0f}{}", "", kMargin, first, width - std::ssize(end), end));
  return lines;
}

}  // namespace reprise
