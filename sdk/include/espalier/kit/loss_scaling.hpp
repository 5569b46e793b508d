// The options of dynamic loss scaling, with DeepSpeed's names and defaults. The scaler itself is the host's, and runs
// in fp16 only.
//
//   struct Options : esp::kit::LossScaling {
//     int64_t stage = 1;
//     static auto schema() {
//       return std::tuple_cat(esp::options(esp::option("stage", &Options::stage)),
//                             esp::kit::loss_scaling_options<Options>());
//     }
//   };
#ifndef ESPALIER_KIT_LOSS_SCALING_HPP
#define ESPALIER_KIT_LOSS_SCALING_HPP

#include <espalier/strategy.h>

#include <cmath>
#include <espalier/options.hpp>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

struct LossScaling {
  uint32_t initial_scale_power = 16;
  uint32_t loss_scale_window = 1000;
  uint32_t hysteresis = 2;
  float min_loss_scale = 1.0f;

  // Throws Failure (ESP_E_INVALID) when the scale would start below its floor.
  void write_to(esp_plan& plan) const {
    plan.scale_init = std::ldexp(1.0f, static_cast<int>(initial_scale_power));
    plan.scale_min = min_loss_scale;
    plan.scale_window = loss_scale_window;
    plan.scale_hysteresis = hysteresis;
    if (plan.scale_init < plan.scale_min) {
      fail(ESP_E_INVALID, "the loss scale would start at ", plan.scale_init,
           ", below min_loss_scale = ", plan.scale_min, "; raise initial_scale_power or lower min_loss_scale");
    }
  }
};

// `Options` derives from LossScaling.
template <class Options>
auto loss_scaling_options() {
  return options(option<Options, uint32_t>("initial_scale_power", &Options::initial_scale_power)
                     .range(0, 32)
                     .doc("fp16: the loss scale starts at 2 to this power"),
                 option<Options, uint32_t>("loss_scale_window", &Options::loss_scale_window)
                     .range(1, 1000000)
                     .doc("fp16: steps without overflow after which the loss scale doubles"),
                 option<Options, uint32_t>("hysteresis", &Options::hysteresis)
                     .range(1, 1000)
                     .doc("fp16: overflows before the loss scale is halved"),
                 option<Options, float>("min_loss_scale", &Options::min_loss_scale)
                     .range(1e-3, 4294967296.0)
                     .doc("fp16: the loss scale is not halved below this"));
}

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_LOSS_SCALING_HPP
