#include "report/number_text.hpp"

#include <cmath>
#include <cstdio>

namespace esp {
namespace {

template <class... Values>
std::string print(const char* format, Values... values) {
  char text[400];  // the longest double in %f has 309 digits
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace

std::string fixed(double value, int decimals) { return print("%.*f", decimals, value); }

std::string scientific(double value) { return print("%.2e", value); }

std::string rounded_bytes_text(uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.95 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return fixed(value, 1) + " " + kUnits[unit];
}

std::string clock_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const auto whole = static_cast<long>(std::lround(seconds));
  const int minutes = static_cast<int>(whole / 60 % 60), rest = static_cast<int>(whole % 60);
  if (whole >= 3600) return print("%ld:%02d:%02d", whole / 3600, minutes, rest);
  return print("%d:%02d", minutes, rest);
}

std::string share_text(uint64_t part, uint64_t whole) {
  const std::string counts = std::to_string(part) + "/" + std::to_string(whole);
  if (whole == 0) return counts;
  return counts + " (" + fixed(100.0 * static_cast<double>(part) / static_cast<double>(whole), 1) + " %)";
}

}  // namespace esp
