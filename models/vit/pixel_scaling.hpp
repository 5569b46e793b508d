// What preprocessor_config.json says about pixels, as far as a model that is given resized images must know it.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace esp::vit {

// value = (pixel * factor - mean) / std, for each of red, green, blue.
struct PixelScaling {
  double factor = 1.0 / 255.0;
  std::array<double, 3> mean = {0.5, 0.5, 0.5};
  std::array<double, 3> std = {0.5, 0.5, 0.5};
  int64_t side = 0;  // pixels that the file says images are resized to; 0: it does not say
};

// Out of a parsed preprocessor_config.json. Throws Failure (ESP_E_DATA) naming settings that images are not
// prepared with here: crops, resample other than bilinear, sizes that keep the aspect.
PixelScaling scaling_from_json(const nlohmann::json& json, const std::string& origin);

// The content of preprocessor_config.json.
std::string scaling_to_json(const PixelScaling& scaling, int64_t image_size);

}  // namespace esp::vit
