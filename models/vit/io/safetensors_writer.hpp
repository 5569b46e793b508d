// Writes a .safetensors file as transformers reads it.
#pragma once

#include <espalier/abi.h>

#include <cstdint>
#include <string>
#include <vector>

namespace esp::vit {

struct TensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  const float* values = nullptr;
};

// The name of a dtype in files: "F32", "BF16" or "F16". Throws Failure (ESP_E_UNSUPPORTED) for others.
std::string file_dtype(esp_dtype dtype);

// All tensors in one dtype, by name, with the metadata {"format": "pt"}. The file appears when it is complete. Throws
// Failure (ESP_E_IO).
void write_safetensors(const std::string& path, std::vector<TensorToWrite> tensors, esp_dtype dtype);

}  // namespace esp::vit
