// Bilinear resize of RGB bytes, bit for bit as Image.resize((w, h), BILINEAR) of Pillow 13: a triangle filter as wide
// as the scale, 22-bit fixed-point weights, one axis after the other, rounded to bytes between the passes. Which axis
// comes first shows in the last bit; for square images it is the horizontal one in every version of Pillow.
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

// Pillow 13's choice (older versions always begin with the horizontal pass): images that lose much more height than
// width. Found by probing it with thousands of sizes and square targets.
bool vertical_pass_first(uint32_t in_width, uint32_t in_height, uint32_t out_width, uint32_t out_height);

// Keeps the weights of the last sizes and its scratch memory; one per thread.
class Resizer {
 public:
  // [in_height, in_width, 3] to [out_height, out_width, 3]; all sizes at least 1.
  void resize(const uint8_t* in, uint32_t in_width, uint32_t in_height, uint8_t* out, uint32_t out_width,
              uint32_t out_height);

 private:
  const uint8_t* horizontal_pass(const uint8_t* in, uint32_t height);
  const uint8_t* vertical_pass(const uint8_t* in, uint32_t width);

  ResizeAxis horizontal_, vertical_;
  std::vector<uint8_t> columns_, narrowed_, rows_, shortened_;
};

}  // namespace esp::vit
