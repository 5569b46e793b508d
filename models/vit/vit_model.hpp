// The component "vit": the model table of the ABI over a definition and an executor.
#pragma once

#include <espalier/model.hpp>
#include <memory>
#include <vector>

#include "vit_definition.hpp"
#include "vit_options.hpp"

namespace esp::vit {

class ReferenceExecutor;

class ViTModel {
 public:
  using Options = ViTOptions;

  ViTModel(Host& host, const Options& options);
  ~ViTModel();

  const esp_model_desc& describe();
  esp_model_need plan(const esp_model_run& run);
  void prepare(const esp_model_run& run);
  void init_range(uint32_t param, uint64_t seed, uint64_t lo, uint64_t hi, float* out);
  void bind(Slice<const esp_bind> binds);
  void begin_micro(const esp_step& step, Slice<const esp_tensor* const> inputs);
  void forward_unit(const esp_step& step, uint32_t unit);
  void loss(const esp_step& step);
  void backward_unit(const esp_step& step, uint32_t unit);
  void memory_stats(uint64_t* by_tag);
  void save(const char* folder, Slice<const float* const> values, esp_dtype dtype);

 private:
  void require_level(const esp_model_run& run) const;
  void build_description();
  void check_inputs(Slice<const esp_tensor* const> inputs) const;

  const esp_run run_;
  ViTDefinition definition_;
  ModelDescription description_;
  const esp_model_desc* desc_ = nullptr;
  std::vector<uint64_t> planned_;
  std::unique_ptr<ReferenceExecutor> executor_;
};

}  // namespace esp::vit
