#include "runtime/train/model_view.hpp"

#include "error.hpp"

namespace esp::runtime {
namespace {

std::vector<esp_item> training_order(uint32_t n_units, uint32_t n_micro) {
  std::vector<esp_item> items;
  items.reserve(size_t{2} * n_units * n_micro);
  for (uint32_t micro = 0; micro < n_micro; ++micro) {
    for (uint32_t unit = 0; unit < n_units; ++unit) items.push_back({ESP_FWD, unit, micro, 0});
    for (uint32_t unit = n_units; unit-- > 0;) items.push_back({ESP_BWD, unit, micro, 0});
  }
  return items;
}

void freeze_matching(std::span<const std::string> patterns, std::span<esp_param> params) {
  for (const std::string& pattern : patterns) {
    bool found = false;
    for (esp_param& param : params) {
      if (!matches_pattern(pattern.c_str(), param.name)) continue;
      param.flags &= ~ESP_PARAM_TRAINABLE;
      found = true;
    }
    if (!found) {
      throw Error(ExitCode::kUsage, "model.freeze: \"" + pattern +
                                        "\" matches no parameter of the model (names look like \"" +
                                        params.front().name + "\"; * matches any run of characters)");
    }
  }
}

}  // namespace

bool matches_pattern(const char* pattern, const char* text) {
  const char* star = nullptr;
  const char* retry = nullptr;
  while (*text != '\0') {
    if (*pattern == '*') {
      star = pattern++;
      retry = text;
    } else if (*pattern == '?' || *pattern == *text) {
      ++pattern;
      ++text;
    } else if (star != nullptr) {
      pattern = star + 1;
      text = ++retry;
    } else {
      return false;
    }
  }
  while (*pattern == '*') ++pattern;
  return *pattern == '\0';
}

ModelView::ModelView(const esp_model_desc& model, std::span<const std::string> freeze, uint32_t n_micro)
    : train_(training_order(model.n_units, n_micro)) {
  for (uint32_t i = 0; i < model.n_params; ++i) {
    esp_param param = *model.params[i];
    param.struct_size = sizeof(esp_param);
    param.group = (param.flags & ESP_PARAM_NO_DECAY) != 0 ? kNoDecayGroup : kDecayGroup;
    params_.push_back(param);
  }
  freeze_matching(freeze, params_);
  for (const esp_param& param : params_) {
    param_list_.push_back(&param);
    trainable_.push_back((param.flags & ESP_PARAM_TRAINABLE) != 0 ? 1 : 0);
  }
  for (uint32_t unit = 0; unit < model.n_units; ++unit) eval_.push_back({ESP_FWD, unit, 0, 0});
  if (n_micro > 0 && trainable_elements() == 0) {
    throw Error(ExitCode::kUsage, "model.freeze leaves no parameter to train");
  }
  view_ = {sizeof(esp_view),   model.n_params,
           model.n_units,      static_cast<uint32_t>(train_.size()),
           model.n_units,      0,
           param_list_.data(), model.units,
           train_.data(),      eval_.data()};
}

uint64_t ModelView::elements() const {
  uint64_t sum = 0;
  for (const esp_param& param : params_) sum += param.numel;
  return sum;
}

uint64_t ModelView::trainable_elements() const {
  uint64_t sum = 0;
  for (size_t i = 0; i < params_.size(); ++i) sum += trainable_[i] != 0 ? params_[i].numel : 0;
  return sum;
}

}  // namespace esp::runtime
