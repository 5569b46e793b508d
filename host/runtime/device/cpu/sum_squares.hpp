// Sum of squares in fp64.
#pragma once

#include <espalier/abi.h>

#include <cstdint>

namespace esp::runtime {

// The order of addition depends on n alone, so every number of threads gives the same bits.
double sum_squares(int32_t threads, const void* x, uint64_t n, esp_dtype dtype);

}  // namespace esp::runtime
