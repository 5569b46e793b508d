// One instance of a model, driven as the host does it on a CPU device. Every byte that it may read or write is known.
#pragma once

#include <espalier/model.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "config/option_set.hpp"
#include "modules/module.hpp"
#include "verify/rank_host.hpp"

namespace esp::verify {

struct ModelScenario {
  uint32_t mode = ESP_MODE_TRAIN;
  uint32_t rows = 3;       // of a micro-batch
  uint32_t eval_rows = 3;  // of an evaluation batch
  uint32_t n_micro = 1;
  uint32_t recompute = 0;
  uint32_t precision = ESP_PRECISION_FP32;
  uint64_t seed = 42;
  std::vector<uint8_t> trainable;  // by parameter; empty: as described
  int64_t refuse_allocation = -1;  // number of the alloc call that fails
};

struct ModelMetrics {
  double loss_sum = 0;
  uint64_t correct = 0;
  bool operator==(const ModelMetrics&) const = default;
};

using Gradients = std::vector<std::vector<double>>;  // by parameter; empty: none is bound

esp_dtype compute_type(uint32_t precision);

class ModelWorld {
 public:
  ModelWorld(const ModuleComponent& component, const OptionSet& options, const ModelScenario& scenario,
             Findings& findings);
  ~ModelWorld();  // destroys the model, and says what was written beside its memory
  ModelWorld(const ModelWorld&) = delete;

  // Each returns whether to go on; what went wrong is a finding, or `refusal`.
  bool create();   // create and describe
  bool plan();     // the scenario's run
  bool prepare();  // gives everything an address, and takes initial values
  bool start() { return create() && plan() && prepare(); }
  bool initial_values(uint32_t param, uint64_t lo, uint64_t hi, float* out);
  bool save(const std::string& folder, const std::vector<std::vector<float>>& values);  // refusal: not offered
  bool memory_stats(uint64_t by_tag[ESP_N_TAGS]);  // plus what it took from esp.memory; false: not offered

  bool begin_step(uint64_t index, uint32_t pass = 0);
  // A micro-batch through all units and back. `before` is called before each of them.
  using Before = std::function<void(uint32_t unit, bool backward)>;
  bool train(uint32_t micro, const Before& before = {});
  bool evaluate();

  bool bind_parameter(uint32_t param);
  bool bind_gradients(uint32_t mode);
  bool move_parameter(uint32_t param);  // to other memory; where it was is NaN from then on
  void poison_gradients();

  void draw_inputs(uint64_t seed);              // all rows of all micro-batches
  void draw_row(uint32_t micro, uint32_t row);  // one anew
  void set_valid(uint32_t micro, uint32_t rows) { valid_[micro] = rows; }
  void set_loss_seed(float seed) { *loss_seed_ = seed; }
  void set_value(uint32_t param, uint64_t element, double value);
  double value(uint32_t param, uint64_t element) const;

  const esp_model_desc& desc() const { return *desc_; }
  const esp_model_need& need() const { return need_; }
  bool trainable(uint32_t param) const { return trainable_[param] != 0; }
  Gradients gradients() const;
  std::string unwritten() const;  // the first gradient element that still is poison, or is not finite; empty: none
  ModelMetrics take_metrics();    // since the last time
  int32_t predicted(uint32_t row) const { return predicted_[row]; }
  int64_t label(uint32_t micro, uint32_t row) const;
  uint64_t allocations_asked() const { return host_.allocations_asked; }
  std::string refusal;  // text of create, plan, prepare or save, where it refuses with a code

 private:
  // Memory whose content must stay what it is.
  struct Kept {
    std::string name;
    const void* data = nullptr;
    std::vector<char> content;
  };
  struct Input {
    char* data = nullptr;
    uint64_t row_bytes = 0;
    std::vector<int64_t> shape;
    esp_tensor tensor{};
  };

  using Call = std::function<esp_status(esp_error*)>;
  bool call(Role role, const char* name, const Call& function, bool may_refuse = false);
  bool unit_call(const char* name, esp_step& step, uint32_t unit,
                 esp_status (*function)(void*, const esp_step*, uint32_t, esp_error*));
  bool begin_micro(esp_step& step, uint32_t rows);
  bool take_initial_values();
  void allocate();
  void fill_run();
  void* take(uint64_t bytes) { return host_.arena.allocate(ESP_DEVICE, bytes, ESP_TAG_INPUT, 0); }
  void draw(const esp_field& field, char* row) const;
  esp_step make_step(uint32_t micro, uint32_t flags);
  bool bind(const std::vector<esp_bind>& binds);
  std::vector<Kept> keep(bool evaluation) const;
  void check_kept(const std::vector<Kept>& kept);

  const ModuleComponent& component_;
  const OptionSet& options_;
  const ModelScenario scenario_;
  const Toy toy_;  // the host of a rank wants one; models do not see it
  RankHost host_;
  esp_model_v1 table_{};
  esp_host services_{};
  esp_run facts_{};
  esp_config config_{};
  esp_model_run run_{};
  esp_model_need need_{};
  const esp_model_desc* desc_ = nullptr;
  void* self_ = nullptr;
  size_t n_ran_ = 0;  // of the host's recorded work
  int64_t segment_ = 0;
  uint64_t index_ = 0;
  uint32_t pass_ = 0;
  mutable std::mt19937_64 random_;
  std::vector<uint8_t> trainable_;
  std::vector<char*> params_, gradients_;
  std::vector<std::vector<Input>> inputs_;  // [micro][input]
  float* loss_seed_ = nullptr;
  uint32_t* valid_ = nullptr;
  double* loss_sum_ = nullptr;
  uint64_t* correct_ = nullptr;
  int32_t* predicted_ = nullptr;
};

}  // namespace esp::verify
