// Bilinear resize of RGB bytes, bit for bit as Pillow's Image.resize((w, h), BILINEAR): a triangle filter as wide as
// the scale, 22-bit fixed-point weights, along rows first, rounded to bytes between the passes. (From version 13 on,
// Pillow takes columns first where that is cheaper; for square images, and most others, that gives the same bytes.)
#pragma once

#include <cstdint>
#include <vector>

namespace esp::vit {

// One axis: output i is the sum over k < count[i] of weights[i * stride + k] * input[first[i] + k].
struct ResizeAxis {
  uint32_t in = 0, out = 0;
  uint32_t stride = 0;
  std::vector<uint32_t> first, count;
  std::vector<int32_t> weights;
};

ResizeAxis make_resize_axis(uint32_t in, uint32_t out);

// Keeps the weights of the last sizes and its scratch memory; one per thread.
class Resizer {
 public:
  // [in_height, in_width, 3] to [out_height, out_width, 3]; all sizes at least 1.
  void resize(const uint8_t* in, uint32_t in_width, uint32_t in_height, uint8_t* out, uint32_t out_width,
              uint32_t out_height);

 private:
  ResizeAxis horizontal_, vertical_;
  std::vector<uint8_t> columns_, narrowed_, rows_;
};

}  // namespace esp::vit
