#include "position_grid.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace esp::vit {
namespace {

constexpr float kA = -0.75f;

// Which four old rows (or columns) a new one is made of, and how much of each.
struct Taps {
  std::array<int64_t, 4> at;
  std::array<float, 4> weight;
};

float near(float x) { return ((kA + 2) * x - (kA + 3)) * x * x + 1; }         // |x| <= 1
float far(float x) { return ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA; }  // 1 < |x| < 2

std::vector<Taps> taps_of(int64_t old_side, int64_t new_side) {
  const float scale = static_cast<float>(old_side) / static_cast<float>(new_side);
  std::vector<Taps> all(static_cast<size_t>(new_side));
  for (int64_t i = 0; i < new_side; ++i) {
    const float centre = scale * (static_cast<float>(i) + 0.5f) - 0.5f;
    const float below = std::floor(centre);
    const float t = centre - below;
    Taps& taps = all[static_cast<size_t>(i)];
    taps.weight = {far(t + 1), near(t), near(1 - t), far(2 - t)};
    for (int64_t k = 0; k < 4; ++k) {
      taps.at[static_cast<size_t>(k)] = std::clamp<int64_t>(static_cast<int64_t>(below) - 1 + k, 0, old_side - 1);
    }
  }
  return all;
}

}  // namespace

std::vector<float> resize_grid(const float* from, int64_t old_side, int64_t new_side, int64_t channels) {
  const std::vector<Taps> taps = taps_of(old_side, new_side);
  std::vector<float> out(static_cast<size_t>(new_side * new_side * channels));
  float* to = out.data();
  for (const Taps& row : taps) {
    for (const Taps& column : taps) {
      for (int64_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (size_t y = 0; y < 4; ++y) {
          float line = 0;
          for (size_t x = 0; x < 4; ++x) {
            line += column.weight[x] * from[(row.at[y] * old_side + column.at[x]) * channels + c];
          }
          sum += row.weight[y] * line;
        }
        *to++ = sum;
      }
    }
  }
  return out;
}

}  // namespace esp::vit
