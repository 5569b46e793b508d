// Plots as SVG markup for a page of report/html.hpp, whose styles they use.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace esp {

struct Bar {
  std::string label;
  double value = 0;
  std::string text;                                                   // beside the bar
  double low = std::numeric_limits<double>::quiet_NaN(), high = low;  // a spread, drawn when both are finite
};
// Horizontal bars from zero. Bars whose value is not finite are left out; empty when none is left.
std::string bar_plot(const std::string& title, const std::vector<Bar>& bars);

struct Point {
  double x = 0, y = 0;
  std::string label;
};
// Points with their labels, axes from zero. Empty without a finite point.
std::string point_plot(const std::string& title, const std::string& x_name, const std::string& y_name,
                       const std::vector<Point>& points);

// A curve; long ones are thinned to what can be seen. Empty with fewer than two finite points.
std::string curve_plot(const std::string& title, const std::string& x_name, const std::vector<Point>& points);

}  // namespace esp
