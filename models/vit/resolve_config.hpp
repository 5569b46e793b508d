// From what the user set, the weights and the data's classes to the sizes of the model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vit_config.hpp"
#include "vit_options.hpp"

namespace esp::vit {

// Sizes by name and explicit keys. default_size: what "auto" stands for.
ViTConfig config_from_options(const ViTOptions& options, const std::string& default_size);

// The weights' own sizes with what may differ from them: image_size. Throws Failure (ESP_E_INVALID), with both numbers,
// for any other option that contradicts them.
ViTConfig config_from_weights(const ViTOptions& options, const ViTConfig& weights);

// Names of the classes: the data's, else the weights'. num_labels: 0 = as many as there are names. Throws Failure
// (ESP_E_INVALID) when there are neither, or more classes in the data than num_labels. `weights` may be empty.
std::vector<std::string> resolve_labels(int64_t num_labels, const std::vector<std::string>& data,
                                        const std::vector<std::string>& weights);

}  // namespace esp::vit
