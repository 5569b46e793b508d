// Position embeddings for another resolution.
#pragma once

#include <cstdint>
#include <vector>

namespace esp::vit {

// Bicubic as torch.nn.functional.interpolate(mode="bicubic", align_corners=False) does it: cubic with A = -0.75, edges
// repeated, no antialiasing. from: [old_side, old_side, channels]; returns [new_side, new_side, channels].
std::vector<float> resize_grid(const float* from, int64_t old_side, int64_t new_side, int64_t channels);

}  // namespace esp::vit
