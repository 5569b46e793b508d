// Everything about a ViT that needs no tensor library: sizes, parameters, where their values come from, notes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pixel_scaling.hpp"
#include "vit_config.hpp"
#include "vit_options.hpp"
#include "vit_parameters.hpp"
#include "weights/checkpoint.hpp"
#include "weights/weight_files.hpp"

namespace esp::vit {

class ViTDefinition {
 public:
  // data_classes: names, empty if unknown. default_size: what size = "auto" stands for without weights. Throws Failure
  // for whatever in options, weights and classes does not fit together.
  ViTDefinition(const ViTOptions& options, const std::vector<std::string>& data_classes,
                const std::string& default_size);
  ViTDefinition(const ViTDefinition&) = delete;
  ViTDefinition& operator=(const ViTDefinition&) = delete;

  const ViTConfig& config() const { return config_; }
  const ViTParameters& parameters() const { return *parameters_; }
  const PixelScaling& scaling() const { return scaling_; }
  const std::vector<std::string>& notes() const { return notes_; }  // lines a user should read once
  std::string name() const;                                         // "vit-tiny 192x12, patch 16, 224 px"

  // Elements [lo, hi) of a parameter's initial values. Thread-safe.
  void init_range(uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out) const;

 private:
  ViTConfig weights_config(const ViTOptions& options) const;
  void read_processor(int64_t stored_image_size);
  void note_other_classes(const std::vector<std::string>& data, const std::vector<std::string>& weights);

  ViTConfig config_;
  PixelScaling scaling_;
  std::unique_ptr<WeightFiles> files_;
  std::unique_ptr<ViTParameters> parameters_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<std::string> notes_;
};

}  // namespace esp::vit
