#include "verify/toy.hpp"

#include <cmath>

namespace esp::verify {
namespace {

constexpr int64_t kShapes[Toy::kParams][2] = {{50, 3}, {13, 40}, {0, 4},   {20, 17}, {9, 30},
                                              {30, 7}, {40, 11}, {30, 11}, {20, 10}};
constexpr const char* kNames[Toy::kParams] = {"embedding", "weight", "empty", "frozen", "weight2",
                                              "unused",    "head",   "tied",  "orphan"};

}  // namespace

Toy::Toy(uint32_t n_micro) {
  for (uint32_t id = 0; id < kParams; ++id) {
    const uint32_t group = id == kHead || id == kWeight2 ? 1 : 0;
    const uint32_t flags = (id == kFrozen ? 0 : ESP_PARAM_TRAINABLE) | (group == 1 ? ESP_PARAM_NO_DECAY : 0);
    const auto numel = static_cast<uint64_t>(kShapes[id][0] * kShapes[id][1]);
    params_.push_back({sizeof(esp_param), id, kNames[id], kShapes[id], 2, flags, numel, group, 0});
    param_list_.push_back(&params_.back());
  }
  uses_ = {{kEmbedding, kTied}, {kWeight, kEmpty}, {kFrozen, kWeight2, kUnused}, {kHead, kTied}};
  for (const auto& uses : uses_) {
    units_.push_back({sizeof(esp_unit), 0, "unit", uses.data(), static_cast<uint32_t>(uses.size()), 0});
    unit_list_.push_back(&units_.back());
  }
  const auto n_units = static_cast<uint32_t>(units_.size());
  for (uint32_t micro = 0; micro < n_micro; ++micro) {
    for (uint32_t unit = 0; unit < n_units; ++unit) train_.push_back({ESP_FWD, unit, micro, 0});
    for (uint32_t unit = n_units; unit-- > 0;) train_.push_back({ESP_BWD, unit, micro, 0});
  }
  for (uint32_t unit = 0; unit < n_units; ++unit) eval_.push_back({ESP_FWD, unit, 0, 0});
  view_ = {sizeof view_,
           kParams,
           n_units,
           static_cast<uint32_t>(train_.size()),
           static_cast<uint32_t>(eval_.size()),
           0,
           param_list_.data(),
           unit_list_.data(),
           train_.data(),
           eval_.data()};
}

double Toy::initial(uint32_t param, uint64_t element) {
  return 0.75 + 0.02 * param + 0.25 * std::sin(0.37 * static_cast<double>(element));
}

double Toy::gradient(uint32_t param, uint64_t element, uint32_t unit, uint64_t sample, double weight) {
  if (param == kUnused) return 0;
  const double data =
      std::sin(static_cast<double>(param * 7 + element * 3 + unit * 5) + 1.7 * static_cast<double>(sample));
  return 0.15 * data + 0.25 + 0.125 * weight;
}

}  // namespace esp::verify
