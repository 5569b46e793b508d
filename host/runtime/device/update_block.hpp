// What the update service keeps in device memory, and the plain values its kernels are given.
#pragma once

#include <espalier/host.h>

#include <cstdint>

namespace esp::runtime {

inline constexpr uint32_t kMaxGroups = 64;
inline constexpr uint32_t kMaxStreams = 256;  // of a device; one partial sum of squares each

// At a fixed address for the whole run; esp_scalars points into it.
struct UpdateBlock {
  float lr[kMaxGroups];
  float weight_decay[kMaxGroups];
  float coef;           // what a gradient is multiplied with
  float applied_steps;  // == applied
  float loss_scale;
  float found_inf;
  float grad_norm;
  float loss_seed;  // loss_scale * W / samples(step)
  uint64_t step;

  double exact_lr[kMaxGroups];  // what the optimizer uses; `lr` is for strategies
  double exact_decay[kMaxGroups];
  double keep[kMaxGroups];       // AdamW: what decay leaves of a weight, 1 - lr * decay
  double step_size[kMaxGroups];  // AdamW: lr / (1 - beta1^t), t = applied + 1
  double sqrt_bias2;             // AdamW: sqrt(1 - beta2^t)
  uint64_t applied;              // steps whose update was not skipped
  uint64_t skipped;
  uint32_t good_steps;       // since the last overflow or growth
  uint32_t hysteresis_left;  // overflows until the scale backs off
  double exact_coef;         // what the optimizer uses; `coef` is for strategies
  double exact_norm;
  double sum;                   // of squares of scaled gradients
  double partial[kMaxStreams];  // by Stream::index()
};

// Fixed for the run.
struct UpdateRules {
  bool adamw = true;  // else SGD
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, momentum = 0;
  double clip_norm = 0;  // 0 = off
  bool barrier = false;  // coef and found_inf steer apply
  bool dynamic_scale = false;
  float scale_min = 1;
  uint32_t scale_window = 1000;
  uint32_t scale_hysteresis = 2;
};

// New in every step.
struct UpdateInputs {
  uint32_t n_groups = 0;
  double lr[kMaxGroups] = {};
  uint64_t step = 0;
  double seed_factor = 1;  // W / samples(step)
};

// A contiguous part of a gradient, for its norm.
struct NormPiece {
  const void* grad = nullptr;
  uint64_t n = 0;
  esp_dtype dtype = ESP_F32;
};

struct UpdateRange {
  uint64_t n = 0;
  void* master = nullptr;
  void* slots[2] = {};
  const void* grad = nullptr;
  void* out = nullptr;
  esp_dtype master_t = ESP_F32, grad_t = ESP_F32, out_t = ESP_F32;
  uint32_t group = 0;
};

// Read back one step later.
struct UpdateResult {
  uint64_t step = 0;
  uint64_t applied_steps = 0;  // after this step
  double grad_norm = 0;        // unscaled, before clipping
  float loss_scale = 1;        // used in this step
  bool found_inf = false;
  bool skipped = false;
};

}  // namespace esp::runtime
