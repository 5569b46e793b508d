#include "attention_wgmma.cuh"

namespace esp::vit::fused::wgmma {
namespace {

constexpr int kGroups = 4;  // of 64 keys each; the last has 16 at most
constexpr int kThreads = kGroups * kGroupThreads;
constexpr int kRows = kMaxTokens;
constexpr int kSteps = kRows / 16;

// Shared memory of a block that has a head at a time: bytes from its start. Products of the last group read 48 rows
// beyond the keys' and values' tiles; what comes of those rows is dropped.
struct Plan {
  static constexpr uint32_t kTile = kRows * kRow;
  static constexpr uint32_t kQ = 0;
  static constexpr uint32_t kDO = kQ + kTile;
  static constexpr uint32_t kV = kDO + kTile;
  static constexpr uint32_t kK = kV + kTile;           // two: this head's and the next one's
  static constexpr uint32_t kDS = kK + 2 * kTile;      // three, [key][64 queries]
  static constexpr uint32_t kPitch = 48;               // of 16 queries: eight rows fall on distinct banks
  static constexpr uint32_t kStrip = kDS + 3 * kTile;  // [key][last 16 queries]
  static constexpr uint32_t kLse = kStrip + kRows * kPitch;
  static constexpr uint32_t kDelta = kLse + kRows * 4;
  static constexpr uint32_t kSums = kDelta + kRows * 4;  // [query gradient, value gradient][16 rows][64] fp32
  static constexpr uint32_t kBytes = kSums + 2 * kSteps * kHeadWidth * 4;
  static_assert(kTile % 1024 == 0 && kBytes <= 227 * 1024);
};

template <class T>
using Arrays = BackwardArrays<T>;

#if ESP_HAS_WGMMA

constexpr int kSlab = 32;        // queries that a group has scores of at a time
constexpr int kLastQuery = 192;  // from here on queries have a tile of 16

// A head's place in the arrays.
template <class T>
struct Head {
  int n;
  int64_t width;
  const T* qkv;
  const T* out;
  const T* dout;
  const float* lse;
  T* dqkv;
  __device__ __forceinline__ Head(const Arrays<T>& arrays, int head)
      : n(arrays.shape.tokens), width(arrays.shape.heads * kHeadWidth) {
    const int64_t row = static_cast<int64_t>(head / arrays.shape.heads) * n;
    const int column = head % arrays.shape.heads * kHeadWidth;
    qkv = arrays.qkv + row * 3 * width + column;
    out = arrays.out + row * width + column;
    dout = arrays.dout + row * width + column;
    lse = arrays.lse + static_cast<int64_t>(head) * n;
    dqkv = arrays.dqkv + row * 3 * width + column;
  }
};

struct Place {
  int lane, warp, group, first;  // warp: of the group; first: of the warp's 16 keys
  __device__ __forceinline__ Place()
      : lane(threadIdx.x % kWarp),
        warp(threadIdx.x % kGroupThreads / kWarp),
        group(threadIdx.x / kGroupThreads),
        first(group * 64 + warp * 16) {}
};

// What the sums of dout * out over a row are made of: eight threads have a row, in pieces of 64 rows.
struct Pieces {
  static constexpr int kCount = (kRows + 63) / 64;
  uint4 out[kCount], dout[kCount];
  float lse;
};

template <class T>
__device__ __forceinline__ Pieces read_pieces(const Head<T>& head) {
  Pieces pieces;
  const int chunk = threadIdx.x % kChunks * kVector;
#pragma unroll
  for (int i = 0; i < Pieces::kCount; ++i) {
    const int row = threadIdx.x / kChunks + 64 * i;
    pieces.out[i] = pieces.dout[i] = make_uint4(0, 0, 0, 0);
    if (row >= head.n) continue;
    pieces.out[i] = *reinterpret_cast<const uint4*>(head.out + row * head.width + chunk);
    pieces.dout[i] = *reinterpret_cast<const uint4*>(head.dout + row * head.width + chunk);
  }
  // A query that does not exist gets probability 0 everywhere.
  pieces.lse = threadIdx.x < head.n ? head.lse[threadIdx.x] : INFINITY;
  return pieces;
}

template <class T>
__device__ __forceinline__ void sum_pieces(const Pieces& pieces, unsigned char* memory) {
  float* delta = reinterpret_cast<float*>(memory + Plan::kDelta);
#pragma unroll
  for (int i = 0; i < Pieces::kCount; ++i) {
    const uint32_t a[4] = {pieces.out[i].x, pieces.out[i].y, pieces.out[i].z, pieces.out[i].w};
    const uint32_t b[4] = {pieces.dout[i].x, pieces.dout[i].y, pieces.dout[i].z, pieces.dout[i].w};
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 x = Element<T>::wide2(a[j]), y = Element<T>::wide2(b[j]);
      sum = fmaf(x.x, y.x, fmaf(x.y, y.y, sum));
    }
#pragma unroll
    for (int step = 1; step < kChunks; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    const int row = threadIdx.x / kChunks + 64 * i;
    if (threadIdx.x % kChunks == 0 && row < kRows) delta[row] = sum;
  }
  if (threadIdx.x < kRows) reinterpret_cast<float*>(memory + Plan::kLse)[threadIdx.x] = pieces.lse;
}

// The warp's own 16 rows of values: nobody else reads them.
template <class T>
__device__ __forceinline__ void load_values(const Head<T>& head, const Place& at, uint32_t base) {
  if (at.first >= kRows) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = at.first + at.lane / kChunks + 4 * i;
    const int chunk = at.lane % kChunks;
    const bool exists = row < head.n;
    copy_async(base + Plan::kV + swizzled(row, chunk),
               exists ? head.qkv + 2 * head.width + row * 3 * head.width + chunk * kVector : head.qkv, exists);
  }
}

template <class T>
__device__ __forceinline__ void load_keys(const Head<T>& head, uint32_t to) {
  load_rows<T, kThreads, kRows>(threadIdx.x, to, head.qkv + head.width, 3 * head.width, 0, head.n);
}

template <class T>
__device__ __forceinline__ void load_queries(const Head<T>& head, uint32_t base) {
  load_rows<T, kThreads, kRows>(threadIdx.x, base + Plan::kQ, head.qkv, 3 * head.width, 0, head.n);
  load_rows<T, kThreads, kRows>(threadIdx.x, base + Plan::kDO, head.dout, head.width, 0, head.n);
}

// Sums over the warp's 16 rows of d, by columns: each exchange halves what a lane still sums.
__device__ __forceinline__ void sum_columns(const float (&d)[32], float scale, float* sums) {
  const int lane = threadIdx.x % kWarp;
  float v[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) v[i] = d[i / 2 * 4 + i % 2] + d[i / 2 * 4 + i % 2 + 2];
#pragma unroll
  for (int step = 16, left = 8; step >= 4; step /= 2, left /= 2) {
    const bool upper = (lane & step) != 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i >= left) continue;
      const float sent = upper ? v[i] : v[i + left];
      v[i] = (upper ? v[i + left] : v[i]) + __shfl_xor_sync(0xffffffffu, sent, step);
    }
  }
  const int block = (lane & 16) / 4 + (lane & 8) / 4 + (lane & 4) / 4;
  *reinterpret_cast<float2*>(sums + block * 8 + lane % 4 * 2) = make_float2(v[0] * scale, v[1] * scale);
}

// p of kN queries from `query` on; rows are keys.
template <int kN>
__device__ __forceinline__ void probabilities(float (&s)[kSlab / 2], const unsigned char* memory, int query, int first,
                                              int n) {
  const float* lse = reinterpret_cast<const float*>(memory + Plan::kLse) + query + threadIdx.x % 4 * 2;
  const int key = first + threadIdx.x % kWarp / 4;
#pragma unroll
  for (int j = 0; j < kN / 8; ++j) {
    const float2 of = *reinterpret_cast<const float2*>(lse + j * 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // A key that does not exist has no probability; its score is 0, which an lse below -128 would blow up.
      const float p = power_of_two(fmaf(s[4 * j + i], kLog2Scale, i % 2 == 0 ? -of.x : -of.y));
      s[4 * j + i] = key + i / 2 * 8 < n ? p : 0.0f;
    }
  }
}

// dp becomes ds.
template <int kN>
__device__ __forceinline__ void score_gradients(float (&dp)[kN / 2], const float (&p)[kSlab / 2],
                                                const unsigned char* memory, int query) {
  const float* delta = reinterpret_cast<const float*>(memory + Plan::kDelta) + query + threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < kN / 8; ++j) {
    const float2 of = *reinterpret_cast<const float2*>(delta + j * 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) dp[4 * j + i] = p[4 * j + i] * (dp[4 * j + i] - (i % 2 == 0 ? of.x : of.y));
  }
}

// ds for the pass that makes dQ.
template <int kN>
__device__ __forceinline__ void keep(const uint32_t (&ds)[kSlab / 16][4], unsigned char* memory, int query, int first) {
  const int key = first + threadIdx.x % kWarp / 4;
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = key + 8 * i;
      const uint32_t to = kN == kSlab
                              ? Plan::kDS + (query + j * 8) / 64 * Plan::kTile + swizzled(row, (query + j * 8) % 64 / 8)
                              : Plan::kStrip + row * Plan::kPitch + j * 16;
      *reinterpret_cast<uint32_t*>(memory + to + t * 4) = ds[j / 2][j % 2 * 2 + i];
    }
  }
}

// s = scores of the group's keys and the queries from `query` on, under way. A whole slab always: those beyond the last
// query's tile are nobody's.
template <class T>
__device__ __forceinline__ void begin_scores(const Place& at, uint32_t base, uint32_t keys, int query,
                                             float (&s)[kSlab / 2]) {
  hold(s);
  fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    Product<T, kSlab>::template run<Read::kAlong, Read::kAlong>(
        s, descriptor(keys + at.group * 64 * kRow + step * kStepAlong),
        descriptor(base + Plan::kQ + query * kRow + step * kStepAlong), step != 0);
  }
  commit();
}

// A group's sums, and what its products under way read.
struct Strip {
  float dk[32], dv[32], s[kSlab / 2];
  uint32_t p[kSlab / 16][4], ds[kSlab / 16][4];
};

__device__ __forceinline__ void hold_sums(Strip& strip) {
  hold(strip.dv);
  hold(strip.dk);
  hold(strip.p);
  hold(strip.ds);
}

// The group's keys against kN queries from `query` on, whose scores are under way. After a whole slab another one
// follows: its scores are begun beside these sums, and are under way when this returns.
template <class T, int kN>
__device__ __forceinline__ void walk(const Place& at, unsigned char* memory, uint32_t base, uint32_t keys, int query,
                                     int n, Strip& strip) {
  float dp[kN / 2];
  hold(dp);
  fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    Product<T, kN>::template run<Read::kAlong, Read::kAlong>(
        dp, descriptor(base + Plan::kV + at.group * 64 * kRow + step * kStepAlong),
        descriptor(base + Plan::kDO + query * kRow + step * kStepAlong), step != 0);
  }
  commit();
  wait<1>();
  hold(strip.s);
  const bool there = at.first < kRows;  // what the others make is dropped
  if (there) probabilities<kN>(strip.s, memory, query, at.first, n);
  wait<0>();
  hold(dp);
  if (there) score_gradients<kN>(dp, strip.s, memory, query);
  pack<T>(strip.p, strip.s);
  pack<T>(strip.ds, dp);
  if (there) keep<kN>(strip.ds, memory, query, at.first);
  hold_sums(strip);
  fence();
#pragma unroll
  for (int step = 0; step < kN / 16; ++step) {
    multiply(T(), strip.dv, strip.p[step], descriptor(base + Plan::kDO + query * kRow + step * kStepAcross), true);
    multiply(T(), strip.dk, strip.ds[step], descriptor(base + Plan::kQ + query * kRow + step * kStepAcross), true);
  }
  commit();
  if (kN == kSlab) {
    begin_scores<T>(at, base, keys, query + kSlab, strip.s);
    wait<1>();
  } else {
    wait<0>();
  }
  hold_sums(strip);
}

template <class T>
__device__ __forceinline__ void key_pass(const Place& at, unsigned char* memory, uint32_t base, uint32_t keys, int n,
                                         Strip& strip) {
#pragma unroll
  for (int i = 0; i < 32; ++i) strip.dk[i] = strip.dv[i] = 0.0f;
  begin_scores<T>(at, base, keys, 0, strip.s);
#pragma unroll
  for (int query = 0; query < kLastQuery; query += kSlab) walk<T, kSlab>(at, memory, base, keys, query, n, strip);
  walk<T, kRows - kLastQuery>(at, memory, base, keys, kLastQuery, n, strip);
}

// dV of the warp's keys to memory by way of the rows of their values, and its column sums.
template <class T>
__device__ __forceinline__ void finish_values(const Place& at, const Head<T>& head, unsigned char* memory,
                                              const float (&dv)[32]) {
  if (at.first >= kRows) return;
  sum_columns(dv, 1.0f, reinterpret_cast<float*>(memory + Plan::kSums) + (kSteps + at.first / 16) * kHeadWidth);
  const float one[2] = {1.0f, 1.0f};
  store_rows<T>(dv, one, memory + Plan::kV, head.dqkv + 2 * head.width, 3 * head.width, at.first, head.n);
  __syncwarp();
}

// dK likewise.
template <class T>
__device__ __forceinline__ void finish_keys(const Place& at, const Head<T>& head, unsigned char* memory,
                                            const float (&dk)[32]) {
  if (at.first >= kRows) return;
  const float scale[2] = {kScale, kScale};
  store_rows<T>(dk, scale, memory + Plan::kV, head.dqkv + head.width, 3 * head.width, at.first, head.n);
  __syncwarp();
}

// dQ of the warp's 16 queries by way of a tile of dS that its group alone has read.
template <class T>
__device__ __forceinline__ void finish_queries(const Place& at, const Head<T>& head, unsigned char* memory,
                                               uint32_t tile, const float (&dq)[32]) {
  sum_columns(dq, kScale, reinterpret_cast<float*>(memory + Plan::kSums) + at.first / 16 * kHeadWidth);
  group_barrier<kGroups>(at.group);
  const float scale[2] = {kScale, kScale};
  store_rows<T>(dq, scale, memory + tile, head.dqkv, 3 * head.width, at.first, head.n);
}

// The last 16 queries' dQ; each warp of the group makes 16 of its columns.
template <class T>
__device__ __forceinline__ void last_queries(const Place& at, const Head<T>& head, unsigned char* memory, uint32_t base,
                                             uint32_t keys) {
  const Lane of(at.lane);
  float dq[2][4] = {};
#pragma unroll
  for (int tile = 0; tile < kSteps; ++tile) {
    uint32_t a[4], b[4];
    load_matrices_transposed(a,
                             base + Plan::kStrip + (tile * 16 + of.across_row) * Plan::kPitch + of.across_chunk * 16);
    load_matrices_transposed(b, keys + tile_offset(tile * 16 + of.down_row, at.warp * 2 + of.down_chunk));
    fused::multiply(T(), dq[0], a, b[0], b[1]);
    fused::multiply(T(), dq[1], a, b[2], b[3]);
  }
  const int g = at.lane / 4, t = at.lane % 4;
  float* sums = reinterpret_cast<float*>(memory + Plan::kSums) + (kSteps - 1) * kHeadWidth;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const int column = at.warp * 16 + j * 8 + 2 * t;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = kLastQuery + g + 8 * i;
      if (row >= head.n) continue;
      *reinterpret_cast<uint32_t*>(head.dqkv + row * 3 * head.width + column) =
          Element<T>::narrow2(dq[j][2 * i] * kScale, dq[j][2 * i + 1] * kScale);
    }
    float left = (dq[j][0] + dq[j][2]) * kScale, right = (dq[j][1] + dq[j][3]) * kScale;
#pragma unroll
    for (int step = 4; step < kWarp; step *= 2) {
      left += __shfl_xor_sync(0xffffffffu, left, step);
      right += __shfl_xor_sync(0xffffffffu, right, step);
    }
    if (g == 0) *reinterpret_cast<float2*>(sums + column) = make_float2(left, right);
  }
}

// The column sums of 16 rows each to the image's row of partial sums.
template <class T>
__device__ __forceinline__ void store_sums(const Arrays<T>& arrays, int head, const unsigned char* memory) {
  const int i = threadIdx.x;
  if (i >= 2 * kHeadWidth) return;
  const float* sums =
      reinterpret_cast<const float*>(memory + Plan::kSums) + i / kHeadWidth * kSteps * kHeadWidth + i % kHeadWidth;
  float sum = 0;
#pragma unroll
  for (int rows = 0; rows < kSteps; ++rows) sum += sums[rows * kHeadWidth];
  const int width = arrays.shape.heads * kHeadWidth;
  arrays.partials[static_cast<int64_t>(head / arrays.shape.heads) * 2 * width + i / kHeadWidth * width +
                  head % arrays.shape.heads * kHeadWidth + i % kHeadWidth] = sum;
}

#endif  // ESP_HAS_WGMMA

// Persistent over heads. A group of four warps has 64 keys: their dV and dK stay in registers while it walks over the
// queries, and its strip of dS goes to shared memory, for the pass that makes dQ: there three groups have 64 queries
// each and the last, whose own keys are few, the rest. The next head's keys come in under the first pass, the other
// operands under the second.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) backward_kernel(const Arrays<T> arrays) {
#if ESP_HAS_WGMMA
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t base = shared_address(memory);
  const Place at;
  const int heads = arrays.shape.images * arrays.shape.heads;
  uint32_t keys = base + Plan::kK, other = keys + Plan::kTile;
  {
    const Head<T> head(arrays, blockIdx.x);
    load_keys(head, keys);
    load_queries(head, base);
    load_values(head, at, base);
    commit_copies();
    sum_pieces<T>(read_pieces(head), memory);
  }
#pragma unroll 1
  for (int i = blockIdx.x; i < heads; i += gridDim.x) {
    const int next = i + static_cast<int>(gridDim.x);
    wait_copies<0>();
    publish();
    __syncthreads();
    if (i != static_cast<int>(blockIdx.x)) store_sums(arrays, i - static_cast<int>(gridDim.x), memory);
    if (next < heads) load_keys(Head<T>(arrays, next), other);
    commit_copies();
    Strip strip;
    key_pass<T>(at, memory, base, keys, arrays.shape.tokens, strip);
    publish();
    __syncthreads();
    if (next < heads) load_queries(Head<T>(arrays, next), base);
    finish_values(at, Head<T>(arrays, i), memory, strip.dv);
    if (at.group < kGroups - 1) {
      const uint32_t tile = Plan::kDS + at.group * Plan::kTile;
      float dq[32];
      hold(dq);
      fence();
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        Product<T, 64>::template run<Read::kAcross, Read::kAcross>(dq, descriptor(base + tile + step * kStepAcross),
                                                                   descriptor(keys + step * kStepAcross), step != 0);
      }
      commit();
      finish_keys(at, Head<T>(arrays, i), memory, strip.dk);
      if (next < heads) load_values(Head<T>(arrays, next), at, base);
      wait<0>();
      hold(dq);
      if (next < heads) {
        const Pieces pieces = read_pieces(Head<T>(arrays, next));
        finish_queries(at, Head<T>(arrays, i), memory, tile, dq);
        sum_pieces<T>(pieces, memory);
      } else {
        finish_queries(at, Head<T>(arrays, i), memory, tile, dq);
      }
    } else {
      finish_keys(at, Head<T>(arrays, i), memory, strip.dk);
      if (next < heads) {
        load_values(Head<T>(arrays, next), at, base);
        const Pieces pieces = read_pieces(Head<T>(arrays, next));
        last_queries(at, Head<T>(arrays, i), memory, base, keys);
        sum_pieces<T>(pieces, memory);
      } else {
        last_queries(at, Head<T>(arrays, i), memory, base, keys);
      }
    }
    commit_copies();
    const uint32_t swap = keys;
    keys = other;
    other = swap;
  }
  __syncthreads();
  const int last = blockIdx.x + (heads - 1 - blockIdx.x) / gridDim.x * gridDim.x;
  store_sums(arrays, last, memory);
#endif
}

template <class T>
struct Backward {
  static constexpr auto kKernel = backward_kernel<T>;
  static void prepare() {
    check(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Plan::kBytes),
          "shared memory of attention backward");
  }
  static void launch(const Launch& launch, const Arrays<T>& arrays) {
    const int heads = arrays.shape.images * arrays.shape.heads;
    const int blocks = heads < launch.processors ? heads : launch.processors;
    kKernel<<<blocks, kThreads, Plan::kBytes, launch.stream>>>(arrays);
  }
};

}  // namespace

bool takes_backward(const AttentionShape& shape) { return shape.tokens > 64 && shape.tokens <= kMaxTokens; }

void prepare_backward(Half half) {
  with_element(half, [](auto element) { Backward<decltype(element)>::prepare(); });
}

void backward(const Launch& launch, const AttentionShape& shape, const void* qkv, const void* out, const float* lse,
              const void* dout, void* dqkv, float* partials) {
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    const Arrays<T> arrays{shape,   static_cast<const T*>(qkv),  static_cast<const T*>(out),
                           lse,     static_cast<const T*>(dout), static_cast<T*>(dqkv),
                           partials};
    Backward<T>::launch(launch, arrays);
  });
  check_launch("attention backward");
}

}  // namespace esp::vit::fused::wgmma
