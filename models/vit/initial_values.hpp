// Random starting values that are a function of (seed, parameter name, element) alone, so that ranks that hold
// different parts of a parameter, in any number and order, hold parts of the same one.
#pragma once

#include <cstdint>
#include <string_view>

namespace esp::vit {

// Elements [lo, hi) of a normal distribution around 0, cut off at -2 and 2 as transformers does it.
void fill_normal(std::string_view name, uint64_t seed, double standard_deviation, uint64_t lo, uint64_t hi, float* out);

// The number whose standard normal distribution function is p, 0 < p < 1, to about 1e-15 relative.
double normal_quantile(double p);

}  // namespace esp::vit
