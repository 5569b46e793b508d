// One operation of esp.kernels' scalars.
#pragma once

#include <espalier/host.h>

#include <cmath>

#include "runtime/device/anywhere.hpp"

namespace esp::runtime {

// What becomes of register `dst`. a, b: the operands, b being op.imm where op.b says so.
ESPALIER_ANYWHERE inline float scalar_op(const esp_sop& op, float dst, float a, float b) {
  switch (op.op) {
    case ESP_SOP_SET:
      return a;
    case ESP_SOP_ADD:
      return a + b;
    case ESP_SOP_SUB:
      return a - b;
    case ESP_SOP_MUL:
      return a * b;
    case ESP_SOP_DIV:
      return a / b;
    case ESP_SOP_MIN:  // a NaN wins, as in max
      return std::isnan(a) || a < b ? a : b;
    case ESP_SOP_MAX:
      return std::isnan(a) || a > b ? a : b;
    case ESP_SOP_SQRT:
      return std::sqrt(a);
    case ESP_SOP_SELECT:
      return dst != 0 ? a : b;
    default:  // ESP_SOP_FINITE
      return std::isfinite(a) ? 1.0f : 0.0f;
  }
}

}  // namespace esp::runtime
