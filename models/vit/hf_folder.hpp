// Writes a model as a folder that transformers, and the weights option, read.
#pragma once

#include <espalier/abi.h>

#include <string>

#include "pixel_scaling.hpp"
#include "vit_config.hpp"
#include "vit_parameters.hpp"

namespace esp::vit {

// values[i]: parameter i, fp32. config.json comes last, so a folder that has one is complete. Throws Failure
// (ESP_E_IO).
void write_hf_folder(const std::string& folder, const ViTConfig& config, const ViTParameters& parameters,
                     const PixelScaling& scaling, const float* const* values, esp_dtype dtype);

}  // namespace esp::vit
