// Single elements of arrays of any float dtype of the border.
#pragma once

#include <espalier/abi.h>

namespace esp::verify {

bool is_float(esp_dtype dtype);  // F64, F32, BF16, F16
double load(const void* data, uint64_t i, esp_dtype dtype);
void store(void* data, uint64_t i, esp_dtype dtype, double value);  // rounds to nearest even
double rounded(double value, esp_dtype dtype);
// Relative distance of two neighbours.
double epsilon(esp_dtype dtype);

}  // namespace esp::verify
