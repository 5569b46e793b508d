// What device memory is taken beside the strategy's, for strategies that adapt to it.
#pragma once

#include <espalier/model.h>
#include <espalier/strategy.h>

#include <cstdint>
#include <vector>

#include "runtime/comm/control_group.hpp"

namespace esp::runtime {

class MemoryProfile {
 public:
  // What the model expects at each position of view.train, at a recompute level: what it keeps from forward to
  // backward, and its workspace.
  MemoryProfile(const esp_view& view, const esp_model_need& need, uint32_t level);

  // The model was seen to take this much: all positions rise by what it had not expected.
  void observe(uint64_t model_peak);
  // Of others, throughout.
  void add(uint64_t bytes);
  // The largest over ranks, and the smallest budget; 0 = none. All ranks call it.
  void agree(ControlGroup& group, uint64_t budget);

  // What the strategy is given, valid while this lives.
  esp_profile table() const;

 private:
  uint64_t largest() const;

  std::vector<uint64_t> other_bytes_;  // by position
  uint64_t capacity_ = UINT64_MAX;
};

}  // namespace esp::runtime
