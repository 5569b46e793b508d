// A model that trips strategies up: tied, frozen, unused, empty and orphaned parameters, two groups, blocks of
// different sizes. Its gradients are a plain function of (parameter, element, unit, sample, weight), so that every
// element tells on its own whether it is right.
#pragma once

#include <espalier/view.h>

#include <cstdint>
#include <deque>
#include <vector>

namespace esp::verify {

class Toy {
 public:
  enum : uint32_t { kEmbedding, kWeight, kEmpty, kFrozen, kWeight2, kUnused, kHead, kTied, kOrphan, kParams };

  explicit Toy(uint32_t n_micro);
  Toy(const Toy&) = delete;

  const esp_view& view() const { return view_; }
  uint64_t numel(uint32_t param) const { return params_[param].numel; }
  bool trainable(uint32_t param) const { return (params_[param].flags & ESP_PARAM_TRAINABLE) != 0; }
  bool used(uint32_t param) const { return param != kOrphan && numel(param) > 0; }
  const std::vector<uint32_t>& uses(uint32_t unit) const { return uses_[unit]; }

  static double initial(uint32_t param, uint64_t element);
  // What one sample adds to the gradient of one use, before the loss seed. Never near zero but for kUnused.
  static double gradient(uint32_t param, uint64_t element, uint32_t unit, uint64_t sample, double weight);

 private:
  std::deque<esp_param> params_;
  std::deque<esp_unit> units_;
  std::vector<std::vector<uint32_t>> uses_;
  std::vector<const esp_param*> param_list_;
  std::vector<const esp_unit*> unit_list_;
  std::vector<esp_item> train_, eval_;
  esp_view view_{};
};

}  // namespace esp::verify
