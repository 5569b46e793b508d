#include "report/plot.hpp"

#include <algorithm>
#include <cstdio>

#include "report/html.hpp"
#include "report/table.hpp"

namespace esp {
namespace {

constexpr double kWidth = 760, kHeight = 300;
constexpr double kLeft = 70, kRight = 20, kTop = 30, kBottom = 45;
constexpr double kBarHeight = 22, kCharacter = 7;  // pixels a line and a letter take
constexpr size_t kMostPoints = 1000;

std::string pixels(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

// As many digits as tell neighbours apart.
std::string tick_text(double value, double step) {
  char text[64];
  if (step < 1e-4 || std::abs(value) >= 1e6) {
    std::snprintf(text, sizeof text, "%.3g", value);
  } else {
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>(std::max(0.0, std::ceil(-std::log10(step) - 1e-9))),
                  value);
  }
  return text;
}

std::string words(double x, double y, const std::string& text, const char* anchor = "start", const char* kind = "") {
  return "<text x=\"" + pixels(x) + "\" y=\"" + pixels(y) + "\" text-anchor=\"" + anchor + "\" class=\"" + kind +
         "\">" + html_text(text) + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const char* kind) {
  return "<line x1=\"" + pixels(x1) + "\" y1=\"" + pixels(y1) + "\" x2=\"" + pixels(x2) + "\" y2=\"" + pixels(y2) +
         "\" class=\"" + kind + "\"/>\n";
}

std::string frame(double height, const std::string& title, const std::string& content) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + pixels(kWidth) + " " + pixels(height) +
         "\" width=\"" + pixels(kWidth) + "\" height=\"" + pixels(height) + "\" role=\"img\">\n<title>" +
         html_text(title) + "</title>\n" + words(0, 16, title) + content + "</svg>\n";
}

// 1, 2 or 5 times a power of ten, so that about `count` ticks fit.
double tick_step(double span, int count) {
  const double rough = span / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

struct Scale {
  double low = 0, high = 1, from = 0, to = 1;
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

Scale scale(double low, double high, double from, double to) {
  if (!(high > low)) high = low + (low == 0 ? 1 : std::abs(low));
  return {low, high, from, to};
}

std::string axes(const Scale& x, const Scale& y, const std::string& x_name, const std::string& y_name) {
  std::string text = line(x.from, y.from, x.to, y.from, "axis") + line(x.from, y.from, x.from, y.to, "axis");
  const double x_step = tick_step(x.high - x.low, 6), y_step = tick_step(y.high - y.low, 5);
  for (double tick = std::ceil(x.low / x_step) * x_step; tick <= x.high + x_step * 1e-6; tick += x_step) {
    text += words(x.at(tick), y.from + 16, tick_text(tick, x_step), "middle", "soft");
  }
  for (double tick = std::ceil(y.low / y_step) * y_step; tick <= y.high + y_step * 1e-6; tick += y_step) {
    text += line(x.from, y.at(tick), x.to, y.at(tick), "axis");
    text += words(x.from - 6, y.at(tick) + 4, tick_text(tick, y_step), "end", "soft");
  }
  text += words(x.to, y.from + 34, x_name, "end", "soft");
  if (!y_name.empty()) text += words(x.from - 50, y.to - 6, y_name, "start", "soft");
  return text;
}

std::vector<Point> finite(const std::vector<Point>& points) {
  std::vector<Point> kept;
  std::copy_if(points.begin(), points.end(), std::back_inserter(kept),
               [](const Point& point) { return std::isfinite(point.x) && std::isfinite(point.y); });
  return kept;
}

}  // namespace

std::string bar_plot(const std::string& title, const std::vector<Bar>& bars) {
  double most = 0;
  size_t label_width = 0, text_width_beside = 0, count = 0;
  for (const Bar& bar : bars) {
    if (!std::isfinite(bar.value) || bar.value < 0) continue;
    ++count;
    most = std::max({most, bar.value, std::isfinite(bar.high) ? bar.high : 0});
    label_width = std::max(label_width, text_width(bar.label));
    text_width_beside = std::max(text_width_beside, text_width(bar.text));
  }
  if (count == 0) return "";
  const double left = std::min(kCharacter * static_cast<double>(label_width) + 10, kWidth / 2);
  const double right = kWidth - kCharacter * static_cast<double>(text_width_beside) - 10;
  const Scale x = scale(0, most, left, std::max(right, left + 50));
  std::string content;
  double y = kTop;
  for (const Bar& bar : bars) {
    if (!std::isfinite(bar.value) || bar.value < 0) continue;
    content += words(left - 8, y + 14, bar.label, "end");
    content += "<rect x=\"" + pixels(left) + "\" y=\"" + pixels(y + 3) + "\" width=\"" +
               pixels(x.at(bar.value) - left) + "\" height=\"" + pixels(kBarHeight - 8) + "\" class=\"mark\"/>\n";
    double end = x.at(bar.value);
    if (std::isfinite(bar.low) && std::isfinite(bar.high)) {
      content += line(x.at(bar.low), y + 10, x.at(bar.high), y + 10, "spread");
      end = std::max(end, x.at(bar.high));
    }
    content += words(end + 6, y + 14, bar.text);
    y += kBarHeight;
  }
  return frame(y + 10, title, content);
}

std::string point_plot(const std::string& title, const std::string& x_name, const std::string& y_name,
                       const std::vector<Point>& points) {
  const std::vector<Point> kept = finite(points);
  if (kept.empty()) return "";
  double x_most = 0, y_most = 0;
  for (const Point& point : kept) {
    x_most = std::max(x_most, point.x);
    y_most = std::max(y_most, point.y);
  }
  const Scale x = scale(0, x_most * 1.05, kLeft, kWidth - kRight);
  const Scale y = scale(0, y_most * 1.05, kHeight - kBottom, kTop + 20);
  std::string content = axes(x, y, x_name, y_name);
  for (const Point& point : kept) {
    const bool at_right = point.x > x.high * 0.6;
    content += "<circle cx=\"" + pixels(x.at(point.x)) + "\" cy=\"" + pixels(y.at(point.y)) +
               "\" r=\"4\" class=\"mark\"/>\n" +
               words(x.at(point.x) + (at_right ? -8 : 8), y.at(point.y) - 6, point.label, at_right ? "end" : "start");
  }
  return frame(kHeight, title, content);
}

std::string curve_plot(const std::string& title, const std::string& x_name, const std::vector<Point>& points) {
  std::vector<Point> kept = finite(points);
  if (kept.size() < 2) return "";
  const auto by_y = [](const Point& a, const Point& b) { return a.y < b.y; };
  const auto [lowest, highest] = std::minmax_element(kept.begin(), kept.end(), by_y);
  // From zero where that costs little; a learning rate or loss far from it keeps its shape.
  const double low = lowest->y > 0 && lowest->y < 0.7 * highest->y ? 0 : lowest->y;
  const Scale x = scale(kept.front().x, kept.back().x, kLeft, kWidth - kRight);
  const Scale y = scale(low, highest->y, kHeight - kBottom, kTop + 10);
  const size_t stride = (kept.size() + kMostPoints - 1) / kMostPoints;
  std::string path;
  for (size_t i = 0; i < kept.size(); i += stride) {
    if (!path.empty()) path += ' ';
    path += pixels(x.at(kept[i].x)) + "," + pixels(y.at(kept[i].y));
  }
  return frame(kHeight, title, axes(x, y, x_name, "") + "<polyline points=\"" + path + "\" class=\"curve\"/>\n");
}

}  // namespace esp
