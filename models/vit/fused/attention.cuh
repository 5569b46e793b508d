// What attention's two directions agree on.
#pragma once

#include "launch.cuh"
#include "tile.cuh"

namespace esp::vit::fused {

inline constexpr int kShortTiles = 4;  // of 16 tokens: the two sizes that kernels are made for
inline constexpr int kLongTiles = kMaxTokens / 16;
inline constexpr float kScale = 0.125f;                            // 1 / sqrt(64)
inline constexpr float kLog2Scale = 0.125f * 1.4426950408889634f;  // exponentials are powers of two

void check_shape(const AttentionShape& shape);
void prepare_attention_backward(Half half);

}  // namespace esp::vit::fused
