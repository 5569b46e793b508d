// ESP_PRECISION_*: their names, and the dtype that parameters are bound in.
#pragma once

#include <espalier/model.h>

#include <string>

namespace esp::runtime {

const char* precision_name(uint32_t precision);  // "unknown" for what is none

// The precision that a plan means by its dtype; ESP_PRECISION_DEFAULT for a dtype that nothing computes in.
uint32_t precision_of(esp_dtype compute_t);
esp_dtype compute_type_of(uint32_t precision);

// Throws Error(kUsage) where the model does not offer it. strategy: who may have asked, for the message.
void require_precision(const esp_model_desc& model, uint32_t precision, const std::string& strategy);

}  // namespace esp::runtime
