// A model's definition as the fused executor takes it.
#pragma once

#include "../pixel_scaling.hpp"
#include "../vit_config.hpp"
#include "../vit_parameters.hpp"
#include "fused_table.h"

namespace esp::vit::fused {

ModelShape shape_of(const ViTConfig& config);

// Fills in what the model says; device, memory and log are the caller's. `blocks` holds what setup.blocks points to.
Setup make_setup(const ViTConfig& config, const ViTParameters& parameters, const PixelScaling& scaling,
                 std::vector<BlockParameters>& blocks);

}  // namespace esp::vit::fused
