// How much device memory a step takes beside parameters and gradients, by arithmetic.
#pragma once

#include <cstdint>
#include <vector>

#include "vit_config.hpp"

namespace esp::vit {

enum class Recompute : uint32_t { kNone = 0, kBlock = 1 };
inline constexpr uint32_t kRecomputeLevels = 2;

struct ActivationSizes {
  std::vector<uint64_t> kept;       // [level][unit] bytes from forward to backward
  std::vector<uint64_t> workspace;  // [level] bytes beside them at the highest moment of a step
};

struct ElementBytes {
  uint64_t kept;        // of the compute dtype
  uint64_t copied = 0;  // of the wider copies that matrix products work on, where they do
};

// rows: of a micro-batch. first_trainable: units below it keep nothing. gradients_in_place: each gradient is written
// once a step, in the compute dtype.
ActivationSizes plan_activations(const ViTConfig& config, uint64_t rows, const ElementBytes& element_bytes,
                                 uint32_t first_trainable, bool gradients_in_place);

// Forward FLOPs of one sample, by unit.
std::vector<double> unit_flops(const ViTConfig& config);

}  // namespace esp::vit
