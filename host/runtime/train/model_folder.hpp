// Writing weights: the model's own format, in a folder that appears whole or not at all.
#pragma once

#include <string>
#include <vector>

#include "runtime/train/component_instance.hpp"

namespace esp::runtime {

// values[i]: parameter i, whole. `folder` must not hold anything. Throws Error(kResource) when it cannot be written.
void write_model_folder(Model& model, const std::vector<std::vector<float>>& values, const std::string& folder,
                        esp_dtype dtype);

}  // namespace esp::runtime
