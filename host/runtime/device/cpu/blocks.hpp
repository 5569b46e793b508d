// Arrays of any float dtype, seen a block at a time in the type that is computed in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "runtime/device/cpu/loops.hpp"
#include "runtime/device/dtype.hpp"

namespace esp::runtime {

inline constexpr uint64_t kBlock = 1024;  // elements; buffers of a few blocks stay in the first-level cache

template <class T>
inline constexpr esp_dtype kDtypeOf = sizeof(T) == 8 ? ESP_F64 : ESP_F32;

inline const void* at(const void* base, esp_dtype dtype, uint64_t element) {
  return static_cast<const char*>(base) + element * bytes_of(dtype);
}
inline void* at(void* base, esp_dtype dtype, uint64_t element) {
  return static_cast<char*>(base) + element * bytes_of(dtype);
}

void load_block(const void* from, esp_dtype dtype, uint64_t n, float* to);
void load_block(const void* from, esp_dtype dtype, uint64_t n, double* to);
void store_block(const float* from, uint64_t n, void* to, esp_dtype dtype);
void store_block(const double* from, uint64_t n, void* to, esp_dtype dtype);

// n elements as T: where they lie if they are T already, else converted into buffer.
template <class T>
const T* read_block(const void* from, esp_dtype dtype, uint64_t n, T* buffer) {
  if (dtype == kDtypeOf<T>) return static_cast<const T*>(from);
  load_block(from, dtype, n, buffer);
  return buffer;
}

// body(first, count) for the blocks of [lo, hi).
template <class Body>
void for_blocks(uint64_t lo, uint64_t hi, Body&& body) {
  for (uint64_t first = lo; first < hi; first += kBlock) body(first, std::min(kBlock, hi - first));
}

}  // namespace esp::runtime
