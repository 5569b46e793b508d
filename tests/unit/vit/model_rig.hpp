// Drives the component "vit" through its ABI table as a host with the simplest strategy would.
#pragma once

#include <ATen/ATen.h>
#include <espalier/model.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "vit_options.hpp"

namespace esp::vit::test {

struct RigSetup {
  ViTOptions options;
  std::vector<std::string> classes = {"a", "b", "c"};
  uint32_t rows = 3;
  uint32_t n_micro = 1;
  uint32_t recompute = 0;
  esp_dtype compute_t = ESP_F32;
  esp_dtype grad_t = ESP_F32;
  std::vector<std::string> frozen;  // parts of parameter names
  bool bind_gradients = true;
};

// Small sizes that still have everything: two blocks, four heads, a grid of 4 x 4.
ViTOptions small_options();

// Pixels by a formula; the golden values' script uses the same.
at::Tensor formula_pixels(int64_t rows, int64_t size);

struct Batch {
  at::Tensor pixels, flip, label;
};
Batch formula_batch(int64_t rows, int64_t size);

class ModelRig {
 public:
  explicit ModelRig(const RigSetup& setup);
  ~ModelRig();
  ModelRig(const ModelRig&) = delete;
  ModelRig& operator=(const ModelRig&) = delete;

  const esp_model_desc& desc() const { return *desc_; }
  uint32_t n_units() const { return desc_->n_units; }
  uint32_t id_of(const std::string& name) const;
  esp_model_need plan() const;
  uint64_t activation_bytes() const;  // measured

  // One function of the table each. A step's index and pos are counted here.
  void begin(uint32_t micro, const Batch& batch, bool evaluation = false);
  void forward(uint32_t micro, uint32_t unit, bool evaluation = false);
  void loss(uint32_t micro, bool evaluation = false);
  void backward(uint32_t micro, uint32_t unit);
  void end_pass();   // the next begin is that of another step
  void next_pass();  // ... of another pass of the same step

  void forward_all(uint32_t micro, const Batch& batch);
  void backward_all(uint32_t micro);
  // A whole step over the micro-batches, forward and backward of each in turn.
  void step(const std::vector<Batch>& batches);
  void evaluate(const Batch& batch);

  void bind_param(uint32_t id, void* data);
  void bind_grad(uint32_t id, void* data, uint32_t mode);
  std::string failure(const std::vector<esp_bind>& binds);  // of bind; empty: none

  std::vector<at::Tensor> params, grads;  // what is bound at first
  esp_model_run run{};
  std::vector<uint8_t> trainable;
  std::vector<uint32_t> valid;
  float loss_seed = 1;
  double loss_sum = 0;
  uint64_t correct = 0;
  std::vector<int32_t> predicted;

 private:
  esp_step step_of(uint32_t micro, bool evaluation);
  void check(esp_status status, const esp_error& error) const;

  RigSetup setup_;
  esp_run facts_{};
  esp_host host_{};
  std::vector<esp_value> values_;
  std::vector<const char*> class_list_;
  esp_config config_{};
  const esp_model_v1* table_ = nullptr;
  void* self_ = nullptr;
  const esp_model_desc* desc_ = nullptr;
  std::map<uint32_t, Batch> inputs_;  // of micro-batches, which the model may read until their last hook
  uint64_t index_ = 0;
  uint32_t pass_ = 0, pos_ = 0;
};

}  // namespace esp::vit::test
