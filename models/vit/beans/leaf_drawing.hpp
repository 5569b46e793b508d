// Draws a bean leaf on soil, healthy or with one of two diseases: a stand-in for photographs where there are none.
// Colours of leaf, soil and light vary more than the spots change the mean colour, so spots are what has to be learned.
#pragma once

#include <cstdint>

#include "jpeg.hpp"

namespace esp::vit {

// Numbers are the labels: positions in the sorted class names.
enum class LeafKind : uint32_t { kAngularLeafSpot = 0, kBeanRust = 1, kHealthy = 2 };
inline constexpr const char* kLeafClasses[] = {"angular_leaf_spot", "bean_rust", "healthy"};
inline constexpr uint32_t kLeafSide = 256;      // pixels
inline constexpr uint64_t kDrawingVersion = 1;  // changes whenever the same seed draws something else

// A function of its arguments alone.
RgbImage draw_leaf(LeafKind kind, uint64_t seed, uint64_t stream);

}  // namespace esp::vit
