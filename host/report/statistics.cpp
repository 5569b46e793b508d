#include "report/statistics.hpp"

#include <algorithm>
#include <cmath>

namespace esp {

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(std::floor(position));
  const size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], position - static_cast<double>(below));
}

std::optional<StepTimes> summarise_steps(const std::vector<double>& step_ms) {
  if (step_ms.empty()) return std::nullopt;
  StepTimes times;
  times.warmup = std::min<size_t>(3, step_ms.size() / 4);
  times.counted = step_ms.size() - times.warmup;
  const std::vector<double> counted(step_ms.begin() + static_cast<std::ptrdiff_t>(times.warmup), step_ms.end());
  times.median = quantile(counted, 0.5);
  times.p5 = quantile(counted, 0.05);
  times.p95 = quantile(counted, 0.95);
  return times;
}

}  // namespace esp
