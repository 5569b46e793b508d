// The component "vit": the model table of the ABI over a definition and an executor.
#pragma once

#include <espalier/model.hpp>
#include <memory>
#include <vector>

#include "executor_choice.hpp"
#include "vit_definition.hpp"
#include "vit_options.hpp"

namespace esp::vit {

class FusedExecution;
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
  // Whether the fused executor computes this run.
  bool takes_fused(const esp_model_run& run) const;
  esp_model_need plan_fused(const esp_model_run& run);
  void prepare_fused(const esp_model_run& run);
  void prepare_reference(const esp_model_run& run);
  // function(the executor that computes).
  template <class Function>
  void compute(Function function);
  void build_description();
  void check_inputs(Slice<const esp_tensor* const> inputs) const;

  Host& host_;
  const esp_run run_;
  ViTDefinition definition_;
  const std::string wanted_;
  const ExecutorChoice choice_;
  ModelDescription description_;
  const esp_model_desc* desc_ = nullptr;
  std::vector<uint64_t> planned_;
  std::unique_ptr<ReferenceExecutor> reference_;  // one of the two, from prepare on
  std::unique_ptr<FusedExecution> fused_;
};

}  // namespace esp::vit
