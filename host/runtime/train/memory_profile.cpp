#include "runtime/train/memory_profile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace esp::runtime {

// Holds for every order of units and micro-batches: what a forward keeps goes with its backward.
MemoryProfile::MemoryProfile(const esp_view& view, const esp_model_need& need, uint32_t level) {
  const uint64_t* of_unit = need.activation_bytes + uint64_t{level} * view.n_units;
  uint64_t kept = 0;
  for (uint32_t pos = 0; pos < view.n_train; ++pos) {
    const esp_item& item = view.train[pos];
    if (item.phase == ESP_FWD) kept += of_unit[item.unit];
    other_bytes_.push_back(kept + need.workspace_bytes);
    if (item.phase == ESP_BWD) kept -= of_unit[item.unit];
  }
}

uint64_t MemoryProfile::largest() const {
  return other_bytes_.empty() ? 0 : *std::max_element(other_bytes_.begin(), other_bytes_.end());
}

void MemoryProfile::observe(uint64_t model_peak) {
  const uint64_t expected = largest();
  if (model_peak > expected) add(model_peak - expected);
}

void MemoryProfile::add(uint64_t bytes) {
  for (uint64_t& others : other_bytes_) others += bytes;
}

void MemoryProfile::agree(ControlGroup& group, uint64_t budget) {
  std::vector<double> bytes(other_bytes_.begin(), other_bytes_.end());
  group.all_reduce(bytes, ControlOp::kMax);
  std::transform(bytes.begin(), bytes.end(), other_bytes_.begin(), [](double b) { return static_cast<uint64_t>(b); });
  double limit[] = {budget == 0 ? std::numeric_limits<double>::infinity() : static_cast<double>(budget)};
  group.all_reduce(limit, ControlOp::kMin);
  if (std::isinf(limit[0])) return;
  const auto smallest = static_cast<uint64_t>(limit[0]);
  capacity_ = smallest - std::min(smallest, largest());
}

esp_profile MemoryProfile::table() const {
  return {sizeof(esp_profile), static_cast<uint32_t>(other_bytes_.size()), capacity_, other_bytes_.data()};
}

}  // namespace esp::runtime
