#pragma once

#include <string>
#include <vector>

#include "monitoring/figure.h"

namespace reprise {

// The room that a page of text has, in characters, and which ones it may use: block elements or ASCII.
struct TextStyle {
  int width = 80, height = 24;
  bool is_ascii = false, is_coloured = false;
};

// At most style.width characters, none of them a control character, which a terminal would obey; ASCII if asked for.
std::string plain_text(const std::string& text, const TextStyle& style);

// A bar of `width` characters, filled to a share of 0 … 1.
std::string text_bar(double share, int width, const TextStyle& style);

// The area below a curve in `height` lines and one for its axis; over it `marks`, as the letter o. A column stands for
// the mean of its points; those that are not finite are left out. Nothing without a point.
std::vector<std::string> text_plot(const std::vector<Point>& curve, const std::vector<Point>& marks, int height,
                                   const TextStyle& style);

}  // namespace reprise
