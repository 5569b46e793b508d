// What attention's kernels agree on: two directions, each by mma.sync (any shape and device) and by wgmma (sm_90a).
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

template <class T>
struct BackwardArrays {
  AttentionShape shape;
  const T* qkv;
  const T* out;
  const float* lse;
  const T* dout;
  T* dqkv;
  float* partials;
};

// attention_forward and attention_backward by mma.sync.
void forward_by_warps(const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse);
void backward_by_warps(const Launch& launch, const AttentionShape& shape, const void* qkv, const void* out,
                       const float* lse, const void* dout, void* dqkv, float* partials);

namespace wgmma {

// Whether this build has them for the current device; cheap after the first time.
bool has_products();
bool takes_forward(const AttentionShape& shape);
void prepare_forward(Half half);
// What is fastest: four where every head has a processor to itself.
int forward_groups(const Launch& launch, const AttentionShape& shape);
// attention_forward; groups: of four warps, of a block: 1, or for 193 to 200 tokens 4.
void forward(const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse, int groups);
bool takes_backward(const AttentionShape& shape);
void prepare_backward(Half half);
void backward(const Launch& launch, const AttentionShape& shape, const void* qkv, const void* out, const float* lse,
              const void* dout, void* dqkv, float* partials);

}  // namespace wgmma
}  // namespace esp::vit::fused
