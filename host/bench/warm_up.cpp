#include "bench/warm_up.hpp"

#include <algorithm>
#include <cmath>

#include "report/statistics.hpp"

namespace esp::bench {
namespace {

constexpr double kMadToDeviation = 1.4826;  // of a normal distribution
constexpr double kDeviations = 3;
constexpr double kSmallestBand = 0.05;

struct Band {
  double low = 0, high = 0;
  bool holds(double value) const { return value >= low && value <= high; }
};

Band steady_band(const std::vector<double>& step_ms) {
  const std::vector<double> tail(step_ms.begin() + static_cast<std::ptrdiff_t>(step_ms.size() / 2), step_ms.end());
  const double median = quantile(tail, 0.5);
  std::vector<double> distance;
  for (const double value : tail) distance.push_back(std::abs(value - median));
  const double width = std::max(kDeviations * kMadToDeviation * quantile(distance, 0.5), kSmallestBand * median);
  return {median - width, median + width};
}

}  // namespace

size_t detect_warmup(const std::vector<double>& step_ms, size_t allowance) {
  if (step_ms.size() < 2 || allowance == 0) return 0;
  const size_t most = std::min(allowance, step_ms.size() - 1);
  const Band band = steady_band(step_ms);
  for (size_t warmup = 1; warmup < most; ++warmup) {
    const bool next_too = warmup + 1 >= step_ms.size() || band.holds(step_ms[warmup + 1]);
    if (band.holds(step_ms[warmup]) && next_too) return warmup;
  }
  return most;
}

}  // namespace esp::bench
