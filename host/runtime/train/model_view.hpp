// The esp_view that a strategy gets: a model's parameters and units with the run's freezing applied, and the schedule.
#pragma once

#include <espalier/model.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace esp::runtime {

inline constexpr uint32_t kDecayGroup = 0;  // optimizer groups: two, told apart by ESP_PARAM_NO_DECAY
inline constexpr uint32_t kNoDecayGroup = 1;
inline constexpr uint32_t kGroups = 2;

class ModelView {
 public:
  // `freeze`: patterns with * and ? over whole parameter names; one that matches nothing is an error. n_micro == 0
  // gives no training schedule. Copies what it needs of `model` except names, which must outlive this.
  ModelView(const esp_model_desc& model, std::span<const std::string> freeze, uint32_t n_micro);
  ModelView(const ModelView&) = delete;
  ModelView& operator=(const ModelView&) = delete;

  const esp_view& view() const { return view_; }
  std::span<const esp_param> params() const { return params_; }
  const uint8_t* trainable() const { return trainable_.data(); }  // [n_params]
  uint64_t elements() const;
  uint64_t trainable_elements() const;

 private:
  std::vector<esp_param> params_;
  std::vector<const esp_param*> param_list_;
  std::vector<uint8_t> trainable_;
  std::vector<esp_item> train_, eval_;
  esp_view view_{};
};

// Whether `text` as a whole matches `pattern`: * any run of characters, ? any one.
bool matches_pattern(const char* pattern, const char* text);

}  // namespace esp::runtime
