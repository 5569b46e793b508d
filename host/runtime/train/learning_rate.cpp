#include "runtime/train/learning_rate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace esp::runtime {

int64_t warmup_steps(const RunConfig::Optimizer& optimizer, int64_t total_steps) {
  if (optimizer.warmup_steps) return *optimizer.warmup_steps;
  if (optimizer.warmup_ratio)
    return static_cast<int64_t>(std::ceil(*optimizer.warmup_ratio * static_cast<double>(total_steps)));
  return 0;
}

double rate_factor(Schedule schedule, int64_t step, int64_t warmup, int64_t total_steps) {
  if (step < warmup) return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup));
  const double rest = static_cast<double>(std::max<int64_t>(1, total_steps - warmup));
  switch (schedule) {
    case Schedule::kConstant:
      return 1.0;
    case Schedule::kLinear:
      return std::max(0.0, static_cast<double>(total_steps - step) / rest);
    case Schedule::kCosine:
      return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * static_cast<double>(step - warmup) / rest)));
  }
  return 1.0;
}

}  // namespace esp::runtime
