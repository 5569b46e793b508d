#include "attention.cuh"

namespace esp::vit::fused {
namespace {

// Shared memory of a block that has a head at a time: bytes from its start.
template <int kTiles>
struct Plan {
  static constexpr int kRows = kTiles * 16;
  static constexpr int kTile = kRows * kRowBytes;
  static constexpr int kPitch =
      kRows * 2 + 16;  // of a dS row: 16 bytes more, so that eight rows fall on distinct banks
  static constexpr int kQ = 0;
  static constexpr int kK = kQ + kTile;
  static constexpr int kV = kK + kTile;
  static constexpr int kDO = kV + kTile;
  static constexpr int kO = kDO + kTile;
  static constexpr int kDS = kO + kTile;  // [key][query]
  static constexpr int kLse = kDS + kRows * kPitch;
  static constexpr int kDelta = kLse + kRows * 4;
  static constexpr int kSums = kDelta + kRows * 4;  // [warp][query gradient, value gradient][64] fp32
  static constexpr int kBytes = kSums + kTiles * 2 * kHeadWidth * 4;
};
static_assert(Plan<kLongTiles>::kBytes <= 227 * 1024);

template <class T>
using Arrays = BackwardArrays<T>;

// Everything of a head but its keys: they are still read while this is under way.
template <class T, int kTiles>
__device__ __forceinline__ void load_all_but_keys(const Arrays<T>& arrays, int head, unsigned char* memory) {
  using P = Plan<kTiles>;
  const uint32_t base = shared_address(memory);
  const int n = arrays.shape.tokens;
  const int width = arrays.shape.heads * kHeadWidth;
  const int64_t row = static_cast<int64_t>(head / arrays.shape.heads) * n;
  const int column = head % arrays.shape.heads * kHeadWidth;
  const T* q = arrays.qkv + row * 3 * width + column;
  load_tile(base + P::kQ, q, 3 * width, P::kRows, n);
  load_tile(base + P::kV, q + 2 * width, 3 * width, P::kRows, n);
  load_tile(base + P::kDO, arrays.dout + row * width + column, width, P::kRows, n);
  load_tile(base + P::kO, arrays.out + row * width + column, width, P::kRows, n);
  float* lse = reinterpret_cast<float*>(memory + P::kLse);
  for (int i = threadIdx.x; i < P::kRows; i += blockDim.x) {
    // A query that does not exist gets probability 0 everywhere.
    lse[i] = i < n ? arrays.lse[static_cast<int64_t>(head) * n + i] : INFINITY;
  }
}

template <class T, int kTiles>
__device__ __forceinline__ void load_keys(const Arrays<T>& arrays, int head, unsigned char* memory) {
  const int width = arrays.shape.heads * kHeadWidth;
  const int64_t row = static_cast<int64_t>(head / arrays.shape.heads) * arrays.shape.tokens;
  load_tile(shared_address(memory) + Plan<kTiles>::kK,
            arrays.qkv + row * 3 * width + width + head % arrays.shape.heads * kHeadWidth, 3 * width,
            Plan<kTiles>::kRows, arrays.shape.tokens);
}

// delta[q] = sum over d of dout[q][d] * out[q][d]; two neighbouring threads have a row.
template <class T, int kTiles>
__device__ __forceinline__ void sum_rows(unsigned char* memory) {
  using P = Plan<kTiles>;
  float* delta = reinterpret_cast<float*>(memory + P::kDelta);
  const int row = threadIdx.x / 2;  // 2 * kRows threads: all of the block
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kChunks / 2; ++i) {
    const uint32_t at = tile_offset(row, threadIdx.x % 2 * (kChunks / 2) + i);
    float a[8], b[8];
    load8(reinterpret_cast<const T*>(memory + P::kDO + at), a);
    load8(reinterpret_cast<const T*>(memory + P::kO + at), b);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fmaf(a[j], b[j], sum);
  }
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  if (threadIdx.x % 2 == 0) delta[row] = sum;
}

// Rows [first, first + 16) of a head's gradient, as far as they exist; and their column sums to sums[64].
template <class T>
__device__ __forceinline__ void store_gradient(const float (&d)[8][4], float scale, T* to, int64_t stride, int first,
                                               int there, float* sums) {
  const int g = threadIdx.x % kWarp / 4;
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = first + g + 8 * i;
    if (row < there) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        *reinterpret_cast<uint32_t*>(to + row * stride + j * 8 + 2 * t) =
            Element<T>::narrow2(d[j][2 * i] * scale, d[j][2 * i + 1] * scale);
      }
    }
  }
  if (sums == nullptr) return;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float left = (d[j][0] + d[j][2]) * scale;
    float right = (d[j][1] + d[j][3]) * scale;
#pragma unroll
    for (int step = 4; step < kWarp; step *= 2) {
      left += __shfl_xor_sync(0xffffffffu, left, step);
      right += __shfl_xor_sync(0xffffffffu, right, step);
    }
    if (g == 0) {
      sums[j * 8 + 2 * t] = left;
      sums[j * 8 + 2 * t + 1] = right;
    }
  }
}

// Warp w has keys [16 w, 16 w + 16): its dV and dK stay in registers while it walks over the queries, and its strip of
// dS goes to shared memory, for the pass that makes dQ.
template <class T, int kTiles>
__device__ __forceinline__ void key_pass(const Arrays<T>& arrays, int head, unsigned char* memory, const Lane& at) {
  using P = Plan<kTiles>;
  const uint32_t base = shared_address(memory);
  const int warp = threadIdx.x / kWarp;
  const int g = threadIdx.x % kWarp / 4;
  const int t = threadIdx.x % 4;
  const int n = arrays.shape.tokens;
  const float* lse = reinterpret_cast<const float*>(memory + P::kLse);
  const float* delta = reinterpret_cast<const float*>(memory + P::kDelta);
  const bool exists[2] = {warp * 16 + g < n, warp * 16 + g + 8 < n};
  float dv[8][4] = {}, dk[8][4] = {};
#pragma unroll 1
  for (int tile = 0; tile < kTiles; ++tile) {
    float s[2][4] = {}, dp[2][4] = {};
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      uint32_t a[4], b[4];
      load_matrices(a, base + P::kK + tile_offset(warp * 16 + at.down_row, step * 2 + at.down_chunk));
      load_matrices(b, base + P::kQ + tile_offset(tile * 16 + at.across_row, step * 2 + at.across_chunk));
      multiply(T(), s[0], a, b[0], b[1]);
      multiply(T(), s[1], a, b[2], b[3]);
      load_matrices(a, base + P::kV + tile_offset(warp * 16 + at.down_row, step * 2 + at.down_chunk));
      load_matrices(b, base + P::kDO + tile_offset(tile * 16 + at.across_row, step * 2 + at.across_chunk));
      multiply(T(), dp[0], a, b[0], b[1]);
      multiply(T(), dp[1], a, b[2], b[3]);
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int query = tile * 16 + j * 8 + 2 * t;
      const float2 of_lse = *reinterpret_cast<const float2*>(lse + query);
      const float2 of_delta = *reinterpret_cast<const float2*>(delta + query);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // A key that does not exist has no probability; its score is 0, which an lse below -128 would blow up.
        const float p = exists[i / 2] ? exp2f(fmaf(s[j][i], kLog2Scale, i % 2 == 0 ? -of_lse.x : -of_lse.y)) : 0.0f;
        s[j][i] = p;
        dp[j][i] = p * (dp[j][i] - (i % 2 == 0 ? of_delta.x : of_delta.y));
      }
    }
    uint32_t p[4], ds[4];
    pack<T>(p, s[0], s[1]);
    pack<T>(ds, dp[0], dp[1]);
    unsigned char* strip = memory + P::kDS + (warp * 16 + g) * P::kPitch + (tile * 16 + 2 * t) * 2;
    *reinterpret_cast<uint32_t*>(strip) = ds[0];
    *reinterpret_cast<uint32_t*>(strip + 8 * P::kPitch) = ds[1];
    *reinterpret_cast<uint32_t*>(strip + 16) = ds[2];
    *reinterpret_cast<uint32_t*>(strip + 8 * P::kPitch + 16) = ds[3];
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      uint32_t b[4];
      load_matrices_transposed(b, base + P::kDO + tile_offset(tile * 16 + at.down_row, d * 2 + at.down_chunk));
      multiply(T(), dv[2 * d], p, b[0], b[1]);
      multiply(T(), dv[2 * d + 1], p, b[2], b[3]);
      load_matrices_transposed(b, base + P::kQ + tile_offset(tile * 16 + at.down_row, d * 2 + at.down_chunk));
      multiply(T(), dk[2 * d], ds, b[0], b[1]);
      multiply(T(), dk[2 * d + 1], ds, b[2], b[3]);
    }
  }
  const int width = arrays.shape.heads * kHeadWidth;
  float* sums = reinterpret_cast<float*>(memory + P::kSums) + (warp * 2 + 1) * kHeadWidth;
  T* to = arrays.dqkv + static_cast<int64_t>(head / arrays.shape.heads) * n * 3 * width +
          head % arrays.shape.heads * kHeadWidth;
  store_gradient(dk, kScale, to + width, 3 * width, warp * 16, n, nullptr);
  store_gradient(dv, 1.0f, to + 2 * width, 3 * width, warp * 16, n, sums);
}

// Warp w has queries [16 w, 16 w + 16): dQ = dS * K.
template <class T, int kTiles>
__device__ __forceinline__ void query_pass(const Arrays<T>& arrays, int head, unsigned char* memory, const Lane& at) {
  using P = Plan<kTiles>;
  const uint32_t base = shared_address(memory);
  const int warp = threadIdx.x / kWarp;
  const int n = arrays.shape.tokens;
  float dq[8][4] = {};
#pragma unroll 1
  for (int tile = 0; tile < kTiles; ++tile) {
    uint32_t a[4];
    load_matrices_transposed(
        a, base + P::kDS + (tile * 16 + at.across_row) * P::kPitch + (warp * 16 + at.across_chunk * 8) * 2);
#pragma unroll
    for (int d = 0; d < 4; ++d) {
      uint32_t b[4];
      load_matrices_transposed(b, base + P::kK + tile_offset(tile * 16 + at.down_row, d * 2 + at.down_chunk));
      multiply(T(), dq[2 * d], a, b[0], b[1]);
      multiply(T(), dq[2 * d + 1], a, b[2], b[3]);
    }
  }
  const int width = arrays.shape.heads * kHeadWidth;
  float* sums = reinterpret_cast<float*>(memory + P::kSums) + warp * 2 * kHeadWidth;
  T* to = arrays.dqkv + static_cast<int64_t>(head / arrays.shape.heads) * n * 3 * width +
          head % arrays.shape.heads * kHeadWidth;
  store_gradient(dq, kScale, to, 3 * width, warp * 16, n, sums);
}

// The warps' column sums to the image's row of partial sums.
template <class T, int kTiles>
__device__ __forceinline__ void store_sums(const Arrays<T>& arrays, int head, const unsigned char* memory) {
  const float* sums = reinterpret_cast<const float*>(memory + Plan<kTiles>::kSums);
  const int width = arrays.shape.heads * kHeadWidth;
  for (int i = threadIdx.x; i < 2 * kHeadWidth; i += blockDim.x) {
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < kTiles; ++warp) sum += sums[warp * 2 * kHeadWidth + i];
    arrays.partials[static_cast<int64_t>(head / arrays.shape.heads) * 2 * width + i / kHeadWidth * width +
                    head % arrays.shape.heads * kHeadWidth + i % kHeadWidth] = sum;
  }
}

// As many warps as tiles, persistent over heads; the next head's operands come in under the pass that makes dQ.
// Declared for whole multiples of four warps: what a scheduler's registers allow.
template <class T, int kTiles>
__global__ void __launch_bounds__((kTiles + 3) / 4 * 4 * kWarp, 1) backward_kernel(const Arrays<T> arrays) {
  extern __shared__ __align__(128) unsigned char memory[];
  const Lane at(threadIdx.x % kWarp);
  const int heads = arrays.shape.images * arrays.shape.heads;
  int head = blockIdx.x;
  if (head >= heads) return;
  load_all_but_keys<T, kTiles>(arrays, head, memory);
  load_keys<T, kTiles>(arrays, head, memory);
  commit_copies();
#pragma unroll 1
  while (true) {
    wait_copies<0>();
    __syncthreads();
    sum_rows<T, kTiles>(memory);
    __syncthreads();
    key_pass<T, kTiles>(arrays, head, memory, at);
    __syncthreads();
    const int next = head + static_cast<int>(gridDim.x);
    if (next < heads) load_all_but_keys<T, kTiles>(arrays, next, memory);
    query_pass<T, kTiles>(arrays, head, memory, at);
    __syncthreads();
    if (next < heads) load_keys<T, kTiles>(arrays, next, memory);
    commit_copies();
    store_sums<T, kTiles>(arrays, head, memory);
    if (next >= heads) return;
    head = next;
  }
}

template <class T, int kTiles>
struct Backward {
  using P = Plan<kTiles>;
  // Two blocks of the short kind leave shared memory to spare; the long kind has a processor to itself.
  static constexpr int kResident = kTiles <= kShortTiles ? 3 : 1;
  static void prepare() {
    check(cudaFuncSetAttribute(backward_kernel<T, kTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize, P::kBytes),
          "shared memory of attention backward");
  }
  static void launch(const Launch& launch, const Arrays<T>& arrays) {
    const int heads = arrays.shape.images * arrays.shape.heads;
    const int blocks = heads < kResident * launch.processors ? heads : kResident * launch.processors;
    backward_kernel<T, kTiles><<<blocks, kTiles * kWarp, P::kBytes, launch.stream>>>(arrays);
  }
};

}  // namespace

void prepare_attention_backward(Half half) {
  with_element(half, [&](auto element) {
    using T = decltype(element);
    Backward<T, kShortTiles>::prepare();
    Backward<T, kLongTiles>::prepare();
  });
}

void backward_by_warps(const Launch& launch, const AttentionShape& shape, const void* qkv, const void* out,
                       const float* lse, const void* dout, void* dqkv, float* partials) {
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    const Arrays<T> arrays{shape,   static_cast<const T*>(qkv),  static_cast<const T*>(out),
                           lse,     static_cast<const T*>(dout), static_cast<T*>(dqkv),
                           partials};
    if (shape.tokens <= kShortTiles * 16) {
      Backward<T, kShortTiles>::launch(launch, arrays);
    } else {
      Backward<T, kLongTiles>::launch(launch, arrays);
    }
  });
  check_launch("attention backward");
}

void attention_backward(const Launch& launch, const AttentionShape& shape, const void* qkv, const void* out,
                        const float* lse, const void* dout, void* dqkv, float* partials) {
  check_shape(shape);
  if (wgmma::takes_backward(shape) && wgmma::has_products()) {
    return wgmma::backward(launch, shape, qkv, out, lse, dout, dqkv, partials);
  }
  backward_by_warps(launch, shape, qkv, out, lse, dout, dqkv, partials);
}

}  // namespace esp::vit::fused
