#include "hf_folder.hpp"

#include "io/files.hpp"
#include "io/safetensors_writer.hpp"

namespace esp::vit {
namespace {

std::string python_dtype(esp_dtype dtype) {
  return dtype == ESP_F32 ? "float32" : dtype == ESP_BF16 ? "bfloat16" : "float16";
}

void write_text(const std::string& path, const std::string& text) {
  OutputFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace

void write_hf_folder(const std::string& folder, const ViTConfig& config, const ViTParameters& parameters,
                     const PixelScaling& scaling, const float* const* values, esp_dtype dtype) {
  std::vector<TensorToWrite> tensors;
  for (size_t i = 0; i < parameters.all().size(); ++i) {
    tensors.push_back({parameters.all()[i].name, parameters.all()[i].shape, values[i]});
  }
  write_safetensors(folder + "/model.safetensors", std::move(tensors), dtype);
  write_text(folder + "/preprocessor_config.json", scaling_to_json(scaling, config.image_size));
  write_text(folder + "/config.json", config_to_json(config, python_dtype(dtype)));
}

}  // namespace esp::vit
