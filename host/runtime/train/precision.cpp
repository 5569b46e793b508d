#include "runtime/train/precision.hpp"

#include "error.hpp"

namespace esp::runtime {

const char* precision_name(uint32_t precision) {
  switch (precision) {
    case ESP_PRECISION_FP32:
      return "fp32";
    case ESP_PRECISION_TF32:
      return "tf32";
    case ESP_PRECISION_BF16:
      return "bf16";
    case ESP_PRECISION_FP16:
      return "fp16";
    default:
      return "unknown";
  }
}

uint32_t precision_of(esp_dtype compute_t) {
  switch (compute_t) {
    case ESP_F32:
      return ESP_PRECISION_FP32;
    case ESP_BF16:
      return ESP_PRECISION_BF16;
    case ESP_F16:
      return ESP_PRECISION_FP16;
    default:
      return ESP_PRECISION_DEFAULT;
  }
}

esp_dtype compute_type_of(uint32_t precision) {
  switch (precision) {
    case ESP_PRECISION_BF16:
      return ESP_BF16;
    case ESP_PRECISION_FP16:
      return ESP_F16;
    default:
      return ESP_F32;
  }
}

void require_precision(const esp_model_desc& model, uint32_t precision, const std::string& strategy) {
  for (uint32_t i = 0; i < model.n_precisions; ++i) {
    if (model.precisions[i] == precision) return;
  }
  throw Error(ExitCode::kUsage, std::string("precision ") + precision_name(precision) +
                                    " (asked for by train.precision or " + strategy + ") is not offered by " +
                                    model.name + " on this device");
}

}  // namespace esp::runtime
