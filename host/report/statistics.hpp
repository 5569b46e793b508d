// What is said about many step times.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace esp {

// Linear interpolation between the two nearest of the sorted values (NumPy's default). `values` is not empty, 0 <= q
// <= 1.
double quantile(std::vector<double> values, double q);

struct StepTimes {
  size_t warmup = 0;                   // first steps that are left out
  size_t counted = 0;                  // the others
  double median = 0, p5 = 0, p95 = 0;  // milliseconds
};

// The first quarter of the steps, at most three, is warm-up: pages are touched, threads start, allocators grow. Nothing
// for an empty list.
std::optional<StepTimes> summarise_steps(const std::vector<double>& step_ms);

}  // namespace esp
