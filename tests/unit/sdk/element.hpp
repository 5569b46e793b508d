// Single elements of arrays, as the mock host and the toy model compute with them: in fp32.
#pragma once

#include <espalier/abi.h>

#include "verify/element.hpp"

inline float to_float(const void* data, uint64_t i, esp_dtype dtype) {
  return static_cast<float>(esp::verify::load(data, i, dtype));
}
// Rounds to nearest even.
inline void from_float(void* data, uint64_t i, esp_dtype dtype, float value) {
  esp::verify::store(data, i, dtype, static_cast<double>(value));
}
inline float rounded(float value, esp_dtype dtype) { return static_cast<float>(esp::verify::rounded(value, dtype)); }
