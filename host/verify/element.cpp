#include "verify/element.hpp"

#include <cmath>
#include <cstring>

namespace esp::verify {
namespace {

double from_half(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const double fraction = bits & 1023;
  double value;
  if (exponent == 31) {
    value = fraction == 0 ? HUGE_VAL : std::nan("");
  } else {
    value = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

uint16_t to_half(double value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const double size = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  if (size < std::ldexp(1.0, -14)) return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(size, 24)));
  int exponent;
  const double fraction = std::frexp(size, &exponent);  // [0.5, 1)
  const auto mantissa = static_cast<uint32_t>(std::nearbyint(std::ldexp(fraction, 11)));
  return sign | static_cast<uint16_t>((static_cast<uint32_t>(exponent + 13) << 10) + mantissa);
}

double from_bfloat(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

uint16_t to_bfloat(float value) {
  if (std::isnan(value)) return 0x7fc0;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace

bool is_float(esp_dtype dtype) { return dtype == ESP_F64 || dtype == ESP_F32 || dtype == ESP_BF16 || dtype == ESP_F16; }

double load(const void* data, uint64_t i, esp_dtype dtype) {
  switch (dtype) {
    case ESP_F64:
      return static_cast<const double*>(data)[i];
    case ESP_F32:
      return static_cast<const float*>(data)[i];
    case ESP_BF16:
      return from_bfloat(static_cast<const uint16_t*>(data)[i]);
    case ESP_F16:
      return from_half(static_cast<const uint16_t*>(data)[i]);
    default:
      return 0;
  }
}

void store(void* data, uint64_t i, esp_dtype dtype, double value) {
  switch (dtype) {
    case ESP_F64:
      static_cast<double*>(data)[i] = value;
      break;
    case ESP_F32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      break;
    case ESP_BF16:
      static_cast<uint16_t*>(data)[i] = to_bfloat(static_cast<float>(value));
      break;
    case ESP_F16:
      static_cast<uint16_t*>(data)[i] = to_half(value);
      break;
    default:
      break;
  }
}

double rounded(double value, esp_dtype dtype) {
  double room = 0;
  store(&room, 0, dtype, value);
  return load(&room, 0, dtype);
}

double epsilon(esp_dtype dtype) {
  switch (dtype) {
    case ESP_F64:
      return 0x1p-52;
    case ESP_BF16:
      return 0x1p-7;
    case ESP_F16:
      return 0x1p-10;
    default:
      return 0x1p-23;
  }
}

}  // namespace esp::verify
