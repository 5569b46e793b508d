// From the precision of the run to dtypes.
#ifndef ESPALIER_KIT_PRECISION_HPP
#define ESPALIER_KIT_PRECISION_HPP

#include <espalier/failure.hpp>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// Dtype in which the model computes. `unless_asked`: the ESP_PRECISION_ that a strategy takes when the user names none.
// Throws Failure (ESP_E_UNSUPPORTED) for a precision that these headers do not know.
inline esp_dtype compute_dtype(const esp_run& run, uint32_t unless_asked) {
  const uint32_t precision = run.precision == ESP_PRECISION_DEFAULT ? unless_asked : run.precision;
  switch (precision) {
    case ESP_PRECISION_FP32:
    case ESP_PRECISION_TF32:
      return ESP_F32;
    case ESP_PRECISION_BF16:
      return ESP_BF16;
    case ESP_PRECISION_FP16:
      return ESP_F16;
    default:
      fail(ESP_E_UNSUPPORTED, "precision number ", precision,
           " is unknown to this strategy; use fp32, tf32, bf16 or fp16");
  }
}

// bf16 on CUDA, fp32 on CPUs.
inline uint32_t usual_precision(const esp_run& run) {
  return run.device_kind == ESP_CUDA ? ESP_PRECISION_BF16 : ESP_PRECISION_FP32;
}

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_PRECISION_HPP
