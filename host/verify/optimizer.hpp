// The update rule, for the host's tables (on stored elements) and for the oracle (on doubles).
#pragma once

#include <cmath>
#include <cstdint>

namespace esp::verify {

struct OptimizerSettings {
  bool adamw = false;  // else SGD with momentum
  double clip = 0;     // largest norm; 0 = none
  double rate = 0.0625;
};

// For element `w` of a group (1 has no weight decay); s0, s1: slots. steps: applied so far, this one included.
inline void update_element(const OptimizerSettings& settings, uint32_t group, double steps, double gradient, double& w,
                           double& s0, double& s1) {
  if (!settings.adamw) {
    s0 = gradient + 0.5 * s0;
    w -= settings.rate * s0;
    return;
  }
  const double rate = settings.rate * 0.25;
  if (group == 0) w -= rate * 0.1 * w;
  s0 = 0.9 * s0 + 0.1 * gradient;
  s1 = 0.999 * s1 + 0.001 * gradient * gradient;
  const double first = s0 / (1 - std::pow(0.9, steps)), second = s1 / (1 - std::pow(0.999, steps));
  w -= rate * first / (std::sqrt(second) + 1e-8);
}

// Dynamic loss scale, as esp_plan describes it.
struct Scaler {
  double scale = 1, floor = 1;
  uint32_t window = 1000, hysteresis = 2;
  uint32_t good = 0, bad = 0;
  bool active = false;

  void advance(bool overflow) {
    if (!active) return;
    good = overflow ? 0 : good + 1;
    if (overflow && ++bad >= hysteresis) scale = std::fmax(floor, scale / 2);
    if (good >= window) {
      scale *= 2;
      good = bad = 0;
    }
  }
};

}  // namespace esp::verify
