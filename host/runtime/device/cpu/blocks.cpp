#include "runtime/device/cpu/blocks.hpp"

namespace esp::runtime {

void load_block(const void* from, esp_dtype dtype, uint64_t n, float* to) {
  switch (dtype) {
    case ESP_F16:
      return loops::half_to_float(n, static_cast<const uint16_t*>(from), to);
    case ESP_BF16:
      return loops::bfloat_to_float(n, static_cast<const uint16_t*>(from), to);
    case ESP_F64:
      return loops::double_to_float(n, static_cast<const double*>(from), to);
    default:
      std::memcpy(to, from, n * sizeof(float));
  }
}

void load_block(const void* from, esp_dtype dtype, uint64_t n, double* to) {
  if (dtype == ESP_F64) {
    std::memcpy(to, from, n * sizeof(double));
    return;
  }
  float buffer[kBlock];
  loops::float_to_double(n, read_block(from, dtype, n, buffer), to);
}

void store_block(const float* from, uint64_t n, void* to, esp_dtype dtype) {
  switch (dtype) {
    case ESP_F16:
      return loops::float_to_half(n, from, static_cast<uint16_t*>(to));
    case ESP_BF16:
      return loops::float_to_bfloat(n, from, static_cast<uint16_t*>(to));
    case ESP_F64:
      return loops::float_to_double(n, from, static_cast<double*>(to));
    default:
      std::memmove(to, from, n * sizeof(float));
  }
}

void store_block(const double* from, uint64_t n, void* to, esp_dtype dtype) {
  if (dtype == ESP_F64) {
    std::memmove(to, from, n * sizeof(double));
    return;
  }
  if (dtype == ESP_F32) return loops::double_to_float(n, from, static_cast<float*>(to));
  float buffer[kBlock];
  loops::double_to_odd_float(n, from, buffer);
  store_block(buffer, n, to, dtype);
}

}  // namespace esp::runtime
