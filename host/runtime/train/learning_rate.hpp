// Learning-rate schedules: those of Hugging Face's get_constant_schedule_with_warmup, get_linear_... and get_cosine_...
#pragma once

#include <cstdint>

#include "config/run_config.hpp"

namespace esp::runtime {

// Warm-up steps of a run: given, or ceil(ratio x total steps), or 0.
int64_t warmup_steps(const RunConfig::Optimizer& optimizer, int64_t total_steps);

// What the base rate is multiplied with in training step `step` (from 0). The first warm-up step has rate 0.
double rate_factor(Schedule schedule, int64_t step, int64_t warmup, int64_t total_steps);

}  // namespace esp::runtime
