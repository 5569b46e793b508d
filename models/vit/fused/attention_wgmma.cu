#include "attention_wgmma.cuh"

namespace esp::vit::fused {
namespace wgmma {
namespace {

// Shared memory of a head: query, value, key, each of kKeys rows. What is read beyond a tile is the next one's
// beginning: queries 200.. of the last tile of 64, whose results are dropped, and values 200 .. 207, which meet
// probability 0 (keys are there before values are needed). 200 rows, not 208: three blocks then fill a processor's
// shared memory to the byte.
template <int kKeys>
struct Plan {
  enum : uint32_t { kTile = kKeys * kRow, kQ = 0, kV = kTile, kK = 2 * kTile, kBytes = 3 * kTile };
  static_assert(kTile % 1024 == 0);
};

#if ESP_HAS_WGMMA

// s (a row of scores) becomes exponentials; sum and top (in powers of two) of this lane's two rows.
// Keys at and beyond n have none; they are in the last kMasked blocks of eight.
template <int kN, int kMasked>
__device__ __forceinline__ void exponentials(float (&s)[kN], int n, float (&top)[2], float (&sum)[2]) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int j = kN / 4 - kMasked; j < kN / 4; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (j * 8 + 2 * t + i >= n) s[4 * j + i] = s[4 * j + 2 + i] = -INFINITY;
    }
  }
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float tops[2] = {s[2 * row], s[2 * row + 1]};
#pragma unroll
    for (int j = 1; j < kN / 4; ++j) {
      tops[0] = fmaxf(tops[0], s[4 * j + 2 * row]);
      tops[1] = fmaxf(tops[1], s[4 * j + 2 * row + 1]);
    }
    top[row] = fmaxf(tops[0], tops[1]);
    top[row] = fmaxf(top[row], __shfl_xor_sync(0xffffffffu, top[row], 1));
    top[row] = fmaxf(top[row], __shfl_xor_sync(0xffffffffu, top[row], 2)) * kLog2Scale;
    float sums[2] = {};
#pragma unroll
    for (int j = 0; j < kN / 4; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& x = s[4 * j + 2 * row + i];
        x = power_of_two(fmaf(x, kLog2Scale, -top[row]));
        sums[i] += x;
      }
    }
    sum[row] = sums[0] + sums[1];
    sum[row] += __shfl_xor_sync(0xffffffffu, sum[row], 1);
    sum[row] += __shfl_xor_sync(0xffffffffu, sum[row], 2);
  }
}

#endif  // ESP_HAS_WGMMA

// A block has a head; its groups of four warps take tiles of 64 queries in turn, each against all keys with the whole
// softmax in registers. Rows beyond the last query cost their share of the products but no exponentials.
template <class T, int kKeys, int kMasked, int kGroups>
__global__ void __launch_bounds__(kGroups* kGroupThreads, kGroups == 1 ? (kKeys > 200 ? 2 : 3) : 1)
    forward_kernel(const AttentionShape shape, const T* __restrict__ qkv, T* __restrict__ out,
                   float* __restrict__ lse) {
#if ESP_HAS_WGMMA
  using P = Plan<kKeys>;
  constexpr int kThreads = kGroups * kGroupThreads;
  constexpr int kSteps = (kKeys + 15) / 16;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t base = shared_address(memory);
  const int n = shape.tokens;
  const int64_t width = shape.heads * kHeadWidth;
  const int image = blockIdx.x / shape.heads;
  const int head = blockIdx.x % shape.heads;
  const T* from = qkv + static_cast<int64_t>(image) * n * 3 * width + head * kHeadWidth;
  load_rows<T, kThreads, kKeys>(threadIdx.x, base + P::kQ, from, 3 * width, 0, n);
  load_rows<T, kThreads, kKeys>(threadIdx.x, base + P::kK, from + width, 3 * width, 0, n);
  commit_copies();
  load_rows<T, kThreads, kKeys>(threadIdx.x, base + P::kV, from + 2 * width, 3 * width, 0, n);
  commit_copies();
  const int group = threadIdx.x / kGroupThreads;
  const int warp = threadIdx.x % kGroupThreads / kWarp;
  wait_copies<1>();
  publish();
  __syncthreads();
  bool has_v = false;
#pragma unroll 1
  for (int tile = group; tile * 64 < n; tile += kGroups) {
    const int first = tile * 64 + warp * 16;
    float s[kKeys / 2];
    hold(s);
    fence();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      Product<T, kKeys>::template run<Read::kAlong, Read::kAlong>(
          s, descriptor(base + P::kQ + tile * 64 * kRow + step * kStepAlong),
          descriptor(base + P::kK + step * kStepAlong), step != 0);
    }
    commit();
    wait<0>();
    hold(s);
    float top[2] = {}, sum[2] = {};
    if (first < n) exponentials<kKeys / 2, kMasked>(s, n, top, sum);
    uint32_t p[kSteps][4];
    pack<T>(p, s);
    if (!has_v) {  // once, by all groups: each has at least one tile
      wait_copies<0>();
      publish();
      __syncthreads();
      has_v = true;
    }
    float o[32];
    hold(o);
    hold(p);
    fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      multiply(T(), o, p[step], descriptor(base + P::kV + step * kStepAcross), step != 0);
    }
    commit();
    wait<0>();
    hold(o);
    group_barrier<kGroups>(group);  // no warp of the group reads these queries any more
    if (first >= n) continue;
    const float scale[2] = {1.0f / sum[0], 1.0f / sum[1]};
    store_rows<T>(o, scale, memory + P::kQ, out + static_cast<int64_t>(image) * n * width + head * kHeadWidth, width,
                  first, n);
    const int row = first + threadIdx.x % kWarp / 4;
    if (lse == nullptr || threadIdx.x % 4 != 0) continue;
    float* to = lse + static_cast<int64_t>(blockIdx.x) * n;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (row + 8 * i < n) to[row + 8 * i] = top[i] + __log2f(sum[i]);
    }
  }
#endif
}

template <class T, int kKeys, int kMasked, int kGroups>
struct Forward {
  static constexpr auto kKernel = forward_kernel<T, kKeys, kMasked, kGroups>;
  static constexpr int kShared = Plan<kKeys>::kBytes;
  static void prepare() {
    check(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
          "shared memory of attention");
    check(cudaFuncSetAttribute(kKernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
          "shared memory of attention");
  }
  static void launch(const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse) {
    kKernel<<<shape.images * shape.heads, kGroups * kGroupThreads, kShared, launch.stream>>>(
        shape, static_cast<const T*>(qkv), static_cast<T*>(out), lse);
  }
};

// For exactly the tokens whose last eight keys alone can be missing, and for all others.
template <class T, int kGroups>
using Close = Forward<T, 200, 1, kGroups>;
template <class T, int kGroups>
using Wide = Forward<T, 208, 18, kGroups>;

// For the current device.
bool finds_products(int device) {
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "attention");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "attention");
  if (major != 9 || minor != 0) return false;
  // A build for plain sm_90 has these kernels without a body: the row of scores alone would need more registers.
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, Close<__nv_bfloat16, 1>::kKernel), "attention");
  return attributes.numRegs > 64;
}

}  // namespace

bool has_products() {
  // Asked before every launch. A thread seldom changes its device.
  thread_local int asked = -1;
  thread_local bool found = false;
  int device = 0;
  check(cudaGetDevice(&device), "attention");
  if (device != asked) {
    found = finds_products(device);
    asked = device;
  }
  return found;
}

bool takes_forward(const AttentionShape& shape) { return shape.tokens > 64 && shape.tokens <= kMaxTokens; }

void prepare_forward(Half half) {
  with_element(half, [&](auto element) {
    using T = decltype(element);
    Close<T, 1>::prepare();
    Close<T, 4>::prepare();
    Wide<T, 1>::prepare();
  });
}

int forward_groups(const Launch& launch, const AttentionShape& shape) {
  if (shape.tokens <= 192 || shape.tokens > 200) return 1;
  return shape.images * shape.heads <= launch.processors ? 4 : 1;
}

void forward(const Launch& launch, const AttentionShape& shape, const void* qkv, void* out, float* lse, int groups) {
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    if (shape.tokens <= 192 || shape.tokens > 200) return Wide<T, 1>::launch(launch, shape, qkv, out, lse);
    if (groups == 4) return Close<T, 4>::launch(launch, shape, qkv, out, lse);
    Close<T, 1>::launch(launch, shape, qkv, out, lse);
  });
  check_launch("attention");
}

}  // namespace wgmma
}  // namespace esp::vit::fused
