// Names and classes of the ABI's dtypes.
#pragma once

#include <espalier/abi.h>

#include <cstdint>
#include <string>

namespace esp::runtime {

inline bool is_float(esp_dtype dtype) {
  return dtype == ESP_F32 || dtype == ESP_F64 || dtype == ESP_F16 || dtype == ESP_BF16;
}

inline uint64_t bytes_of(esp_dtype dtype) { return ESP_DTYPE_BYTES(dtype); }

std::string name_of(esp_dtype dtype);  // "F32"; unknown ones as a number

}  // namespace esp::runtime
