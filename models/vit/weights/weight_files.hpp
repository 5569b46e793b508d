// The files that weights come in: a Hugging Face folder, or one .safetensors file.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../io/safetensors_file.hpp"

namespace esp::vit {

// One tensor and the file that holds it.
struct StoredTensor {
  const SafetensorsFile* file = nullptr;
  const TensorEntry* entry = nullptr;
};

class WeightFiles {
 public:
  // `weights`: a folder, a .safetensors file, or a hub id that is in the local cache. Opens and checks all files.
  // Throws Failure saying what was looked for and what to do.
  explicit WeightFiles(const std::string& weights);

  const std::string& origin() const { return origin_; }             // as messages name it
  const std::string& config_path() const { return config_; }        // config.json; empty: there is none
  const std::string& processor_path() const { return processor_; }  // preprocessor_config.json; empty: there is none
  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }

 private:
  void open_folder(const std::string& folder);
  void open_sharded(const std::string& folder, const std::string& index);
  const SafetensorsFile& open(const std::string& path);
  void find_companions(const std::string& folder);

  std::string origin_, config_, processor_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, StoredTensor> tensors_;
};

}  // namespace esp::vit
