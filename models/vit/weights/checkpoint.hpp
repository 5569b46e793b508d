// Weights that fit a model: every parameter found, and read in pieces in the model's own terms.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../vit_config.hpp"
#include "../vit_parameters.hpp"
#include "weight_files.hpp"

namespace esp::vit {

class Checkpoint {
 public:
  // Matches files with parameters. Accepted: transformers' ViTForImageClassification, and ViTModel (no "vit." in front;
  // its pooler is left out, the head starts from scratch). A head of another size starts from scratch; the position
  // grid, which must be that of the weights' own config (`stored`), is resized to that of `config`; `notes` says so.
  // Throws Failure (ESP_E_DATA) naming the first tensors that are missing, too many, of another shape or of a dtype
  // that is not read. `files` must outlive this.
  Checkpoint(const WeightFiles& files, const ViTConfig& stored, const ViTConfig& config,
             const ViTParameters& parameters);

  const std::vector<std::string>& notes() const { return notes_; }

  // Whether a parameter has values here; else it starts from scratch.
  bool has(uint32_t param) const { return sources_[param].entry != nullptr; }
  // Elements [lo, hi) of such a parameter. Thread-safe.
  void read(uint32_t param, uint64_t lo, uint64_t hi, float* out) const;

 private:
  void match(const WeightFiles& files, const ViTParameters& parameters);
  void check_shapes(const WeightFiles& files, const ViTParameters& parameters);
  void check_dtypes(const WeightFiles& files) const;
  void drop_other_head(const ViTConfig& config, const ViTParameters& parameters);
  void resize_positions(const WeightFiles& files, const ViTConfig& stored, const ViTConfig& config);

  std::vector<StoredTensor> sources_;  // [n_params]
  std::vector<std::string> notes_;
  uint32_t position_ = 0;
  std::vector<float> resized_positions_;  // empty: as they are in the file
};

// Sizes that can be seen from the shapes, for a file without a config.json. heads: 0 = one for each 64 of the width.
// Throws Failure (ESP_E_DATA) where the file is no ViT.
ViTConfig config_from_shapes(const WeightFiles& files, int64_t heads);

}  // namespace esp::vit
