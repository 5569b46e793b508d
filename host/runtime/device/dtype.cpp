#include "runtime/device/dtype.hpp"

namespace esp::runtime {

std::string name_of(esp_dtype dtype) {
  switch (dtype) {
    case ESP_I32:
      return "I32";
    case ESP_I64:
      return "I64";
    case ESP_U8:
      return "U8";
    case ESP_F16:
      return "F16";
    case ESP_F32:
      return "F32";
    case ESP_F64:
      return "F64";
    case ESP_BF16:
      return "BF16";
    default:
      return "dtype " + std::to_string(dtype);
  }
}

}  // namespace esp::runtime
