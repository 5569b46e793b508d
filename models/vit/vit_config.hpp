// The sizes of a Vision Transformer as Hugging Face's config.json names them.
#pragma once

#include <espalier/abi.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace esp::vit {

struct ViTConfig {
  int64_t hidden_size = 768;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t intermediate_size = 3072;
  int64_t image_size = 224;
  int64_t patch_size = 16;
  double layer_norm_eps = 1e-12;
  double initializer_range = 0.02;
  bool qkv_bias = true;
  std::vector<std::string> labels;  // name of each class

  int64_t num_labels() const { return static_cast<int64_t>(labels.size()); }
  int64_t grid() const { return image_size / patch_size; }  // patches along one side
  int64_t tokens() const { return grid() * grid() + 1; }
  int64_t patch_values() const { return 3 * patch_size * patch_size; }
};

// Hidden size, layers, heads and intermediate size of "tiny", "small", "base" or "large"; the rest at its defaults.
ViTConfig config_of_size(const std::string& size);

// Out of a parsed config.json; missing keys have transformers' defaults. `origin` names the file in errors. Throws
// Failure for what this model does not compute: another model_type, activation, dropout, channels, head.
ViTConfig config_from_json(const nlohmann::json& json, const std::string& origin);

// The content of config.json. dtype: of the weights beside it, "float32", "bfloat16" or "float16".
std::string config_to_json(const ViTConfig& config, const std::string& dtype);

// Throws Failure (status) naming the key: sizes out of bounds, heads or patches that do not divide.
void check_config(const ViTConfig& config, const std::string& origin, esp_status status);

// "LABEL_0", ... as transformers names classes without names.
std::vector<std::string> placeholder_labels(int64_t n);

}  // namespace esp::vit
