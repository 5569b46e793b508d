// Which executor computes: model.executor against what the fused one can do. No device is touched.
#pragma once

#include <espalier/abi.h>

#include <string>
#include <vector>

#include "fused/fused_shape.hpp"

namespace esp::vit {

struct ExecutorChoice {
  bool fused = false;  // it computes if the run's dtype turns out to be bf16 or fp16
  std::string note;    // why auto does not take it where a user would expect it; empty: nothing to tell
};

// wanted: auto, reference or fused. run.precision may be the strategy's choice, not known yet. Throws Failure where
// fused is asked for and cannot be.
ExecutorChoice choose_executor(const std::string& wanted, const esp_run& run, const fused::ModelShape& shape);

bool is_half(esp_dtype dtype);

// Names of the recompute levels on offer. The fused executor's are numbered as fused::Keep.
std::vector<std::string> recompute_levels(bool fused);
// The reference's number of the level named so. Throws Failure for one that it does not have.
uint32_t reference_level(const std::string& name);

}  // namespace esp::vit
