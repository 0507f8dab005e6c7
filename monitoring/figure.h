#pragma once

#include <string>
#include <vector>

namespace reprise {

struct Point {
  double x = 0, y = 0;          // not finite: a gap
  std::string label = {};       // of a box: drawn where it fits
  double x_end = x, y_end = y;  // of a box: the opposite corner
};

// `steps` hold y from a point's x to the next one's; `boxes` are the bars of a chart or the events of a lane.
enum class Shape { line, marked_line, steps, points, boxes };

struct Series {
  std::string name;  // in the legend; without one the series is plain and black: a whisker, a limit
  Shape shape = Shape::line;
  std::vector<Point> points = {};
};

// Titles of axes carry the unit; names stand in place of numbers, at 0, 1, …, from left to right or upwards.
struct Panel {
  std::string y_title = {};
  std::vector<std::string> y_names = {};
  std::vector<Series> series = {};
  double share = 1;        // of the figure's height
  bool from_zero = false;  // the axis shows 0, whatever the numbers
};

struct Figure {
  std::string title = {}, x_title = {};
  std::vector<std::string> x_names = {};
  std::vector<Panel> panels = {};  // one below the other
  int width = 700, height = 450;   // pixels; the legend stands beside
};

// One self-contained SVG, the same for equal figures; text stays text. A series looks after its place in the figure:
// its colour is of Okabe and Ito's set, which colour-blind readers tell apart; dash, mark or hatch tell it apart in
// print.
std::string draw(const Figure& figure);

}  // namespace reprise
