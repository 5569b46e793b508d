// What a step does to the update's numbers, on whichever device they live. One thread runs each of these.
#pragma once

#include <cmath>

#include "runtime/device/anywhere.hpp"
#include "runtime/device/update_block.hpp"

namespace esp::runtime {

// The learning rates, and what AdamW derives from them, of the groups; and the numbers of a step that begins. The
// partial sums are the caller's to clear.
ESPALIER_ANYWHERE inline void begin_numbers(UpdateBlock& block, const UpdateRules& rules, const UpdateInputs& inputs) {
  const auto t = static_cast<double>(block.applied + 1);
  const double bias1 = 1 - std::pow(rules.beta1, t);
  block.sqrt_bias2 = std::sqrt(1 - std::pow(rules.beta2, t));
  for (uint32_t group = 0; group < inputs.n_groups; ++group) {
    block.exact_lr[group] = inputs.lr[group];
    block.lr[group] = static_cast<float>(inputs.lr[group]);
    block.keep[group] = 1 - inputs.lr[group] * block.exact_decay[group];
    block.step_size[group] = inputs.lr[group] / bias1;
  }
  block.step = inputs.step;
  block.found_inf = 0;
  block.exact_coef = 1.0 / block.loss_scale;
  block.coef = static_cast<float>(block.exact_coef);
  block.loss_seed = static_cast<float>(block.loss_scale * inputs.seed_factor);
  block.sum = 0;
}

// block.sum is complete: norm, overflow, and what gradients are multiplied with.
ESPALIER_ANYWHERE inline void finish_numbers(UpdateBlock& block, const UpdateRules& rules) {
  const bool found_inf = !std::isfinite(block.sum);
  block.exact_norm = std::sqrt(block.sum) / block.loss_scale;
  block.grad_norm = static_cast<float>(block.exact_norm);
  block.found_inf = found_inf ? 1.0f : 0.0f;
  if (!rules.barrier) return;  // apply may run already, and must not see coef change
  double clip = 1;
  if (rules.clip_norm > 0) {
    const double wanted = rules.clip_norm / (block.exact_norm + 1e-6);
    if (wanted < 1) clip = wanted;
  }
  block.exact_coef = found_inf ? 0 : clip / block.loss_scale;
  block.coef = static_cast<float>(block.exact_coef);
}

// DeepSpeed's rule: the first hysteresis - 1 overflows are forgiven, every later one halves; `window` good steps in a
// row double and forgive again.
ESPALIER_ANYWHERE inline void advance_scale(UpdateBlock& block, const UpdateRules& rules, bool overflow) {
  constexpr float kScaleMax = 4294967296.0f;  // 2^32: gradients that are zero for ever must not make it infinite
  if (overflow) {
    block.good_steps = 0;
    if (block.hysteresis_left <= 1) {
      const float half = block.loss_scale / 2;
      block.loss_scale = half < rules.scale_min ? rules.scale_min : half;
    } else {
      --block.hysteresis_left;
    }
    return;
  }
  if (++block.good_steps < rules.scale_window) return;
  block.good_steps = 0;
  block.hysteresis_left = rules.scale_hysteresis;
  const float twice = block.loss_scale * 2;
  block.loss_scale = kScaleMax < twice ? kScaleMax : twice;
}

// The step has ended: counters and the scale move on; what the host reads goes to `result`.
ESPALIER_ANYWHERE inline void end_numbers(UpdateBlock& block, const UpdateRules& rules, UpdateResult& result) {
  const bool found_inf = block.found_inf != 0;
  const bool skipped = rules.barrier && found_inf;
  skipped ? ++block.skipped : ++block.applied;
  block.applied_steps = static_cast<float>(block.applied);
  result.step = block.step;
  result.applied_steps = block.applied;
  result.grad_norm = block.exact_norm;
  result.loss_scale = block.loss_scale;
  result.found_inf = found_inf;
  result.skipped = skipped;
  if (rules.dynamic_scale) advance_scale(block, rules, found_inf);
}

}  // namespace esp::runtime
