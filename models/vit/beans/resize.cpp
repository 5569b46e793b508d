#include "resize.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

namespace esp::vit {
namespace {

constexpr int kFractionBits = 22;

// One output line from a weighted sum of input lines: out[j] = sum of weights[k] * lines[k * bytes + j]. In tiles, so
// that the sums stay in registers or the nearest cache.
void blend_lines(const uint8_t* lines, size_t bytes, const int32_t* weights, uint32_t count, uint8_t* out) {
  constexpr size_t kTile = 256;
  int32_t sums[kTile];
  for (size_t from = 0; from < bytes; from += kTile) {
    const size_t n = std::min(kTile, bytes - from);
    std::fill_n(sums, n, 1 << (kFractionBits - 1));
    for (uint32_t k = 0; k < count; ++k) {
      const uint8_t* line = lines + k * bytes + from;
      const int32_t weight = weights[k];
      for (size_t j = 0; j < n; ++j) sums[j] += weight * line[j];
    }
    for (size_t j = 0; j < n; ++j) out[from + j] = static_cast<uint8_t>(std::min(sums[j] >> kFractionBits, 255));
  }
}

void blend(const ResizeAxis& axis, const uint8_t* in, size_t line_bytes, uint8_t* out) {
  for (uint32_t i = 0; i < axis.out; ++i) {
    blend_lines(in + axis.first[i] * line_bytes, line_bytes, &axis.weights[size_t{i} * axis.stride], axis.count[i],
                out + i * line_bytes);
  }
}

// [rows, columns, 3] to [columns, rows, 3], in blocks that fit the cache.
void transpose(const uint8_t* in, uint32_t rows, uint32_t columns, uint8_t* out) {
  constexpr uint32_t kBlock = 32;
  for (uint32_t r0 = 0; r0 < rows; r0 += kBlock) {
    for (uint32_t c0 = 0; c0 < columns; c0 += kBlock) {
      const uint32_t r1 = std::min(rows, r0 + kBlock), c1 = std::min(columns, c0 + kBlock);
      for (uint32_t c = c0; c < c1; ++c) {
        for (uint32_t r = r0; r < r1; ++r) {
          std::memcpy(out + (size_t{c} * rows + r) * 3, in + (size_t{r} * columns + c) * 3, 3);
        }
      }
    }
  }
}

}  // namespace

// In the order of Pillow's own operations: the rounding of every weight depends on it.
// NOLINTBEGIN(bugprone-incorrect-roundings)
ResizeAxis make_resize_axis(uint32_t in, uint32_t out) {
  ResizeAxis axis{in, out, 0, std::vector<uint32_t>(out), std::vector<uint32_t>(out), {}};
  const double scale = static_cast<double>(in) / out;
  const double support = std::max(scale, 1.0);
  const double inverse = 1.0 / support;
  axis.stride = static_cast<uint32_t>(std::ceil(support)) * 2 + 1;
  axis.weights.assign(size_t{out} * axis.stride, 0);
  std::vector<double> exact(axis.stride);
  for (uint32_t i = 0; i < out; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int count = std::min(static_cast<int>(centre + support + 0.5), static_cast<int>(in)) - first;
    double total = 0;
    for (int k = 0; k < count; ++k) {
      const double distance = std::abs((k + first - centre + 0.5) * inverse);
      exact[k] = distance < 1.0 ? 1.0 - distance : 0.0;
      total += exact[k];
    }
    for (int k = 0; k < count; ++k) {
      const double weight = total != 0.0 ? exact[k] / total : exact[k];
      axis.weights[size_t{i} * axis.stride + k] = static_cast<int32_t>(0.5 + weight * (1 << kFractionBits));
    }
    axis.first[i] = static_cast<uint32_t>(first);
    axis.count[i] = static_cast<uint32_t>(count);
  }
  return axis;
}
// NOLINTEND(bugprone-incorrect-roundings)

bool vertical_pass_first(uint32_t in_width, uint32_t in_height, uint32_t out_width, uint32_t out_height) {
  const int64_t narrowed = int64_t{in_width} - out_width, shortened = int64_t{in_height} - out_height;
  return shortened > 0 && shortened > 2 * narrowed;
}

// Both passes blend whole lines, which vectorises: the horizontal one works on the transposed image.
const uint8_t* Resizer::horizontal_pass(const uint8_t* in, uint32_t height) {
  if (horizontal_.in == horizontal_.out) return in;
  columns_.resize(size_t{horizontal_.in} * height * 3);
  narrowed_.resize(size_t{horizontal_.out} * height * 3);
  rows_.resize(narrowed_.size());
  transpose(in, height, horizontal_.in, columns_.data());
  blend(horizontal_, columns_.data(), size_t{height} * 3, narrowed_.data());
  transpose(narrowed_.data(), horizontal_.out, height, rows_.data());
  return rows_.data();
}

const uint8_t* Resizer::vertical_pass(const uint8_t* in, uint32_t width) {
  if (vertical_.in == vertical_.out) return in;
  shortened_.resize(size_t{width} * vertical_.out * 3);
  blend(vertical_, in, size_t{width} * 3, shortened_.data());
  return shortened_.data();
}

void Resizer::resize(const uint8_t* in, uint32_t in_width, uint32_t in_height, uint8_t* out, uint32_t out_width,
                     uint32_t out_height) {
  if (horizontal_.in != in_width || horizontal_.out != out_width) horizontal_ = make_resize_axis(in_width, out_width);
  if (vertical_.in != in_height || vertical_.out != out_height) vertical_ = make_resize_axis(in_height, out_height);
  const uint8_t* result = vertical_pass_first(in_width, in_height, out_width, out_height)
                              ? horizontal_pass(vertical_pass(in, in_width), out_height)
                              : vertical_pass(horizontal_pass(in, in_height), out_width);
  std::copy_n(result, size_t{out_width} * out_height * 3, out);
}

}  // namespace esp::vit
