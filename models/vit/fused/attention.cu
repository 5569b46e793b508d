#include "attention.cuh"

namespace esp::vit::fused {
namespace {

// A block has a head; a warp has 16 queries against all keys, the whole softmax in registers.
// kTiles: of 16 tokens. Declared for more threads than it has: 128 registers let two blocks share a processor, where
// what its real size allows (144) would not, because registers belong to the four schedulers.
template <class T, int kTiles, int kWarps>
__global__ void __launch_bounds__((kWarps + 3) / 4 * 4 * kWarp, 2)
    forward_kernel(const AttentionShape shape, const T* __restrict__ qkv, T* __restrict__ out,
                   float* __restrict__ lse) {
  constexpr int kRows = kTiles * 16;
  extern __shared__ __align__(128) unsigned char memory[];
  const uint32_t q = shared_address(memory);
  const uint32_t k = q + kRows * kRowBytes;
  const uint32_t v = k + kRows * kRowBytes;
  const int n = shape.tokens;
  const int width = shape.heads * kHeadWidth;
  const int image = blockIdx.x / shape.heads;
  const int head = blockIdx.x % shape.heads;
  const T* from = qkv + static_cast<int64_t>(image) * n * 3 * width + head * kHeadWidth;
  load_tile(q, from, 3 * width, kRows, n);
  load_tile(k, from + width, 3 * width, kRows, n);
  commit_copies();
  load_tile(v, from + 2 * width, 3 * width, kRows, n);
  commit_copies();
  const Lane at(threadIdx.x % kWarp);
  const int warp = threadIdx.x / kWarp;
  const int g = threadIdx.x % kWarp / 4;
  const int t = threadIdx.x % 4;
  wait_copies<1>();
  __syncthreads();
  bool has_v = false;
#pragma unroll 1
  for (int tile = warp; tile < kTiles; tile += kWarps) {
    float s[2 * kTiles][4] = {};
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      uint32_t a[4];
      load_matrices(a, q + tile_offset(tile * 16 + at.down_row, step * 2 + at.down_chunk));
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        uint32_t b[4];
        load_matrices(b, k + tile_offset(j * 16 + at.across_row, step * 2 + at.across_chunk));
        multiply(T(), s[2 * j], a, b[0], b[1]);
        multiply(T(), s[2 * j + 1], a, b[2], b[3]);
      }
    }
    float top[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int j = 0; j < 2 * kTiles; ++j) {
      if (j * 8 + 8 > n) {
        const int key = j * 8 + 2 * t;
        if (key >= n) s[j][0] = s[j][2] = -INFINITY;
        if (key + 1 >= n) s[j][1] = s[j][3] = -INFINITY;
      }
      top[0] = fmaxf(top[0], fmaxf(s[j][0], s[j][1]));
      top[1] = fmaxf(top[1], fmaxf(s[j][2], s[j][3]));
    }
    float sum[2] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      top[i] = fmaxf(top[i], __shfl_xor_sync(0xffffffffu, top[i], 1));
      top[i] = fmaxf(top[i], __shfl_xor_sync(0xffffffffu, top[i], 2)) * kLog2Scale;
    }
#pragma unroll
    for (int j = 0; j < 2 * kTiles; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[j][i] = exp2f(fmaf(s[j][i], kLog2Scale, -top[i / 2]));
        sum[i / 2] += s[j][i];
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 1);
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 2);
    }
    if (!has_v) {  // once, by all warps: each has at least one tile
      wait_copies<0>();
      __syncthreads();
      has_v = true;
    }
    float o[8][4] = {};
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      uint32_t p[4];
      pack<T>(p, s[2 * j], s[2 * j + 1]);
#pragma unroll
      for (int d = 0; d < 4; ++d) {
        uint32_t b[4];
        load_matrices_transposed(b, v + tile_offset(j * 16 + at.down_row, d * 2 + at.down_chunk));
        multiply(T(), o[2 * d], p, b[0], b[1]);
        multiply(T(), o[2 * d + 1], p, b[2], b[3]);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = tile * 16 + g + 8 * i;
      if (row >= n) continue;
      const float scale = 1.0f / sum[i];
      T* to = out + (static_cast<int64_t>(image) * n + row) * width + head * kHeadWidth + 2 * t;
#pragma unroll
      for (int d = 0; d < 8; ++d) {
        *reinterpret_cast<uint32_t*>(to + d * 8) = Element<T>::narrow2(o[d][2 * i] * scale, o[d][2 * i + 1] * scale);
      }
      if (t == 0 && lse != nullptr) lse[static_cast<int64_t>(blockIdx.x) * n + row] = top[i] + log2f(sum[i]);
    }
  }
}

template <class T, int kTiles, int kWarps>
struct Forward {
  static constexpr int kShared = 3 * kTiles * 16 * kRowBytes;
  static void prepare() {
    check(cudaFuncSetAttribute(forward_kernel<T, kTiles, kWarps>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
          "shared memory of attention");
  }
  static void launch(const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse) {
    forward_kernel<T, kTiles, kWarps><<<shape.images * shape.heads, kWarps * kWarp, kShared, launch.stream>>>(
        shape, static_cast<const T*>(qkv), static_cast<T*>(out), lse);
  }
};

template <class T>
using Short = Forward<T, kShortTiles, 4>;
template <class T>
using Long = Forward<T, kLongTiles, 7>;

}  // namespace

void check_shape(const AttentionShape& shape) {
  if (shape.tokens < 1 || shape.tokens > kMaxTokens)
    fail(ESP_E_UNSUPPORTED, "attention over ", shape.tokens, " tokens");
}

void prepare_attention(Half half) {
  with_element(half, [&](auto element) {
    Short<decltype(element)>::prepare();
    Long<decltype(element)>::prepare();
  });
  prepare_attention_backward(half);
  if (!wgmma::has_products()) return;
  wgmma::prepare_forward(half);
  wgmma::prepare_backward(half);
}

void forward_by_warps(const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse) {
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    if (shape.tokens <= kShortTiles * 16) {
      Short<T>::launch(launch, shape, qkv, out, lse);
    } else {
      Long<T>::launch(launch, shape, qkv, out, lse);
    }
  });
  check_launch("attention");
}

void attention_forward(const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse) {
  check_shape(shape);
  if (wgmma::takes_forward(shape) && wgmma::has_products()) {
    return wgmma::forward(launch, shape, qkv, out, lse, wgmma::forward_groups(launch, shape));
  }
  forward_by_warps(launch, shape, qkv, out, lse);
}

}  // namespace esp::vit::fused
