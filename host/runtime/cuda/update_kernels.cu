// esp.update on the GPU: norm, clipping, scaler, AdamW and SGD over many ranges in one launch. The arithmetic is that
// of the CPU device, operation by operation (this file is compiled without contraction).
#include <algorithm>

#include "runtime/cuda/device_kernels.hpp"
#include "runtime/cuda/element.cuh"
#include "runtime/cuda/quick_adamw.cuh"
#include "runtime/device/update_step.hpp"

namespace esp::runtime::gpu {
namespace {

constexpr uint32_t kMaxRanges = 56;  // of one launch: arguments of a kernel are at most 4 KiB everywhere

__global__ void begin_kernel(UpdateBlock* block, UpdateBlock* mirror, const __grid_constant__ UpdateRules rules,
                             const __grid_constant__ UpdateInputs inputs) {
  for (uint32_t i = threadIdx.x; i < kMaxStreams; i += blockDim.x) {
    block->partial[i] = 0;
    if (mirror != nullptr) mirror->partial[i] = 0;
  }
  if (threadIdx.x == 0) begin_numbers(*block, rules, inputs);
}

// A thread for each stream. The order of the sum is that of the streams; most have nothing to add.
__device__ void sum_streams(UpdateBlock* block, UpdateBlock* mirror) {
  static_assert(kMaxStreams == kThreads);
  __shared__ double parts[kMaxStreams];
  __shared__ uint32_t used[kMaxStreams / 32];
  const uint32_t i = threadIdx.x;
  double part = block->partial[i];
  block->partial[i] = 0;
  if (mirror != nullptr) {
    part += mirror->partial[i];
    mirror->partial[i] = 0;
  }
  parts[i] = part;
  const uint32_t of_warp = __ballot_sync(~0u, part != 0);
  if (i % 32 == 0) used[i / 32] = of_warp;
  __syncthreads();
  if (i != 0) return;
  double sum = 0;
  for (uint32_t word = 0; word < kMaxStreams / 32; ++word) {
    for (uint32_t left = used[word]; left != 0; left &= left - 1) sum += parts[word * 32 + __ffs(left) - 1];
  }
  block->sum = sum;
}

__global__ void __launch_bounds__(kThreads) sum_partials_kernel(UpdateBlock* block, UpdateBlock* mirror) {
  sum_streams(block, mirror);
}

__global__ void __launch_bounds__(kThreads)
    sum_and_finish_kernel(UpdateBlock* block, UpdateBlock* mirror, const __grid_constant__ UpdateRules rules) {
  sum_streams(block, mirror);
  if (threadIdx.x == 0) finish_numbers(*block, rules);
}

__global__ void finish_norm_kernel(UpdateBlock* block, const __grid_constant__ UpdateRules rules) {
  finish_numbers(*block, rules);
}

__global__ void end_kernel(UpdateBlock* block, const __grid_constant__ UpdateRules rules, UpdateResult* pinned) {
  end_numbers(*block, rules, *pinned);
}

// fp32 masters alone: double precision trains on the CPU device.
struct Range {
  uint64_t n;
  float *master, *slot0, *slot1;
  const void* grad;
  void* out;
  uint16_t group;
  uint8_t grad_t, out_t;  // Kind
  uint32_t first_tile;    // of the launch
};

struct Batch {
  UpdateRules rules;
  uint32_t n;
  Range ranges[kMaxRanges];
};
static_assert(sizeof(Batch) <= 4000, "arguments of a kernel");

enum Kind : uint8_t { kF32, kF16, kBF16 };

Kind kind_of(esp_dtype dtype) {
  switch (dtype) {
    case ESP_F32:
      return kF32;
    case ESP_F16:
      return kF16;
    case ESP_BF16:
      return kBF16;
    default:
      throw Error(ExitCode::kPlugin, "the update on a GPU has no dtype " + std::to_string(dtype));
  }
}

__device__ void load_kind(const void* p, uint8_t kind, uint64_t first, uint64_t n, float (&out)[kVector]) {
  switch (kind) {
    case kF32:
      return load4(static_cast<const float*>(p), first, n, out);
    case kF16:
      return load4(static_cast<const __half*>(p), first, n, out);
    default:
      return load4(static_cast<const __nv_bfloat16*>(p), first, n, out);
  }
}

__device__ void store_kind(void* p, uint8_t kind, uint64_t first, uint64_t n, const float (&values)[kVector]) {
  switch (kind) {
    case kF32:
      return store4(static_cast<float*>(p), first, n, values);
    case kF16:
      return store4(static_cast<__half*>(p), first, n, values);
    default:
      return store4(static_cast<__nv_bfloat16*>(p), first, n, values);
  }
}

__device__ AdamWNumbers numbers_of(const UpdateBlock& block, const UpdateRules& rules, uint32_t group) {
  const auto sqrt_bias2 = static_cast<float>(block.sqrt_bias2);
  return {static_cast<float>(block.keep[group]),
          static_cast<float>(-block.step_size[group]),
          sqrt_bias2,
          __frcp_rn(sqrt_bias2),
          static_cast<float>(1 - rules.beta1),
          static_cast<float>(rules.beta2),
          static_cast<float>(1 - rules.beta2),
          static_cast<float>(rules.eps)};
}

__device__ void adamw(const Range& range, uint64_t first, const UpdateBlock& block, const UpdateRules& rules,
                      float coef, const float (&g)[kVector], float (&p)[kVector]) {
  const AdamWNumbers numbers = numbers_of(block, rules, range.group);
  float m[kVector], v[kVector];
  load4(range.slot0, first, range.n, m);
  load4(range.slot1, first, range.n, v);
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) {
    const float scaled = g[i] * coef;
    const float decayed = p[i] * numbers.keep;
    m[i] = m[i] + numbers.one_minus_beta1 * (scaled - m[i]);
    v[i] = v[i] * numbers.beta2 + numbers.one_minus_beta2 * scaled * scaled;
    p[i] = decayed + numbers.minus_step * m[i] / (sqrtf(v[i]) / numbers.sqrt_bias2 + numbers.eps);
  }
  store4(range.slot0, first, range.n, m);
  store4(range.slot1, first, range.n, v);
}

__device__ void sgd(const Range& range, uint64_t first, const UpdateBlock& block, const UpdateRules& rules, float coef,
                    const float (&g)[kVector], float (&p)[kVector]) {
  const auto decay = static_cast<float>(block.exact_decay[range.group]);
  const auto minus_lr = static_cast<float>(-block.exact_lr[range.group]);
  const auto momentum = static_cast<float>(rules.momentum);
  float velocity[kVector];
  if (range.slot0 != nullptr) load4(range.slot0, first, range.n, velocity);
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) {
    float step = g[i] * coef;
    if (decay != 0) step = step + decay * p[i];
    if (range.slot0 != nullptr) {
      velocity[i] = velocity[i] * momentum + step;
      step = velocity[i];
    }
    p[i] = p[i] + minus_lr * step;
  }
  if (range.slot0 != nullptr) store4(range.slot0, first, range.n, velocity);
}

// One tile a block: short blocks drain in microseconds and leave the multiprocessors to more urgent streams.
// kSquares: sums[block] becomes the sum of squares of its gradients; only without barrier.
template <bool kSquares>
__global__ void __launch_bounds__(kThreads)
    apply_kernel(const UpdateBlock* block, const __grid_constant__ Batch batch, double* sums) {
  if (!kSquares && batch.rules.barrier && block->found_inf != 0) return;
  const Range& range = part_of_tile(batch.ranges, batch.n, blockIdx.x);
  const uint64_t first = static_cast<uint64_t>(blockIdx.x - range.first_tile) * kTile + threadIdx.x * kVector;
  if (!kSquares && first >= range.n) return;
  // Without barrier nothing clips or scales.
  const float coef = batch.rules.barrier ? static_cast<float>(block->exact_coef) : 1.0f;
  float g[kVector], p[kVector];
  load_kind(range.grad, range.grad_t, first, range.n, g);
  load4(range.master, first, range.n, p);
  if (batch.rules.adamw) {
    adamw(range, first, *block, batch.rules, coef, g, p);
  } else {
    sgd(range, first, *block, batch.rules, coef, g, p);
  }
  store4(range.master, first, range.n, p);
  if (range.out != nullptr) store_kind(range.out, range.out_t, first, range.n, p);
  if (!kSquares) return;
  double mine = 0;
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) mine += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  const double sum = sum_of_block(mine);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// AdamW over ranges of whole vectors in 16 bits: the same arithmetic, the same sums, fewer instructions. Half the
// threads of a tile, each with two vectors: more bytes on the way for the registers that a block holds.
constexpr uint32_t kWholeThreads = kThreads / 2;
constexpr uint32_t kWholeVectors = kThreads / kWholeThreads;
// Shared memory that nobody uses: six blocks to a multiprocessor. The registers would let eight in, and kernels that
// need a whole multiprocessor would wait longer for all of them to end.
constexpr uint32_t kWholeShared = 37 * 1024;

struct WholeVector {
  uint2 grad;
  float4 p, m, v;
};

__device__ float (&of(float4& four))[kVector] { return reinterpret_cast<float(&)[kVector]>(four); }

// One vector becomes what it is after the step; the sum of squares of its gradients.
template <class T>
__device__ double advance(const AdamWNumbers& numbers, WholeVector& vector) {
  const T* grad = reinterpret_cast<const T*>(&vector.grad);
  float(&p)[kVector] = of(vector.p), (&m)[kVector] = of(vector.m), (&v)[kVector] = of(vector.v);
  double squares = 0;
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) {
    const float g = widen(grad[i]);
    squares += static_cast<double>(g) * static_cast<double>(g);
    m[i] = m[i] + numbers.one_minus_beta1 * (g - m[i]);
    v[i] = v[i] * numbers.beta2 + numbers.one_minus_beta2 * g * g;
  }
  float step[kVector];
  adamw_step(numbers, m, v, step);
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) p[i] = p[i] * numbers.keep + step[i];
  return squares;
}

template <class T>
__global__ void __launch_bounds__(kWholeThreads)
    apply_whole_kernel(const UpdateBlock* block, const __grid_constant__ Batch batch, double* sums) {
  __shared__ double parts[kThreads / 32];
  const Range& range = part_of_tile(batch.ranges, batch.n, blockIdx.x);
  const uint64_t tile = static_cast<uint64_t>(blockIdx.x - range.first_tile) * kTile;
  const auto at = [&](uint32_t i) { return tile + (i * kWholeThreads + threadIdx.x) * kVector; };
  WholeVector vectors[kWholeVectors] = {};
#pragma unroll
  for (uint32_t i = 0; i < kWholeVectors; ++i) {
    if (at(i) >= range.n) continue;
    vectors[i] = {*reinterpret_cast<const uint2*>(static_cast<const T*>(range.grad) + at(i)),
                  *reinterpret_cast<const float4*>(range.master + at(i)),
                  *reinterpret_cast<const float4*>(range.slot0 + at(i)),
                  *reinterpret_cast<const float4*>(range.slot1 + at(i))};
  }
  const AdamWNumbers numbers = numbers_of(*block, batch.rules, range.group);
#pragma unroll
  for (uint32_t i = 0; i < kWholeVectors; ++i) {
    WholeVector& vector = vectors[i];
    double squares = advance<T>(numbers, vector);
    if (at(i) < range.n) {
      *reinterpret_cast<float4*>(range.master + at(i)) = vector.p;
      *reinterpret_cast<float4*>(range.slot0 + at(i)) = vector.m;
      *reinterpret_cast<float4*>(range.slot1 + at(i)) = vector.v;
      if (range.out != nullptr) store4(static_cast<T*>(range.out), at(i), range.n, of(vector.p));
    }
    for (uint32_t step = 16; step > 0; step /= 2) squares += __shfl_down_sync(~0u, squares, step);
    if (threadIdx.x % 32 == 0) parts[(i * kWholeThreads + threadIdx.x) / 32] = squares;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  double sum = 0;
  for (double part : parts) sum += part;
  sums[blockIdx.x] = sum;
}

// Whether that kernel does for all of them. Bounds of the rules: what they divide by must not be out of all proportion.
bool all_whole(const Batch& batch, Kind kind) {
  if (!batch.rules.adamw || batch.rules.eps > 1 || batch.rules.beta2 > 0.999999) return false;
  const auto whole = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % sizeof(float4) == 0; };
  return std::all_of(batch.ranges, batch.ranges + batch.n, [&](const Range& range) {
    return range.n % kVector == 0 && range.grad_t == kind && (range.out == nullptr || range.out_t == kind) &&
           whole(range.master) && whole(range.slot0) && whole(range.slot1) && whole(range.grad) && whole(range.out);
  });
}

__global__ void __launch_bounds__(kThreads) add_tiles_kernel(const double* sums, uint32_t n, double* add_to) {
  double mine = 0;
#pragma unroll 4
  for (uint32_t i = threadIdx.x; i < n; i += kThreads) mine += sums[i];
  const double sum = sum_of_block(mine);
  if (threadIdx.x == 0) *add_to += sum;
}

// Where the squares go; sums NULL: nobody wants them.
struct Squares {
  double* sums;
  double* add_to;
};

void launch_batch(cudaStream_t stream, const UpdateBlock* block, const Batch& batch, uint32_t n_tiles,
                  const Squares& squares) {
  if (batch.n == 0) return;
  if (squares.sums == nullptr) {
    apply_kernel<false><<<n_tiles, kThreads, 0, stream>>>(block, batch, nullptr);
    check_launch("the update");
    return;
  }
  if (all_whole(batch, kBF16)) {
    apply_whole_kernel<__nv_bfloat16><<<n_tiles, kWholeThreads, kWholeShared, stream>>>(block, batch, squares.sums);
  } else {
    apply_kernel<true><<<n_tiles, kThreads, 0, stream>>>(block, batch, squares.sums);
  }
  check_launch("the update");
  add_tiles_kernel<<<1, kThreads, 0, stream>>>(squares.sums, n_tiles, squares.add_to);
  check_launch("the update's squares");
}

void* moved(void* p, esp_dtype dtype, uint64_t elements) {
  return p == nullptr ? nullptr : static_cast<char*>(p) + elements * ESP_DTYPE_BYTES(dtype);
}

// Elements [offset, offset + n) of it.
Range range_of(const UpdateRange& range, uint64_t offset, uint64_t n, uint32_t first_tile) {
  if (range.master_t != ESP_F32) throw Error(ExitCode::kPlugin, "master weights on a GPU are fp32");
  const auto fp32 = [&](void* p) { return static_cast<float*>(moved(p, ESP_F32, offset)); };
  return {n,
          fp32(range.master),
          fp32(range.slots[0]),
          fp32(range.slots[1]),
          moved(const_cast<void*>(range.grad), range.grad_t, offset),
          moved(range.out, range.out_t, offset),
          static_cast<uint16_t>(range.group),
          kind_of(range.grad_t),
          range.out == nullptr ? kF32 : kind_of(range.out_t),
          first_tile};
}

// In launches of at most kMaxRanges ranges and kTileSums tiles.
void apply_in_batches(cudaStream_t stream, const UpdateBlock* block, const UpdateRules& rules,
                      const UpdateRange* ranges, uint32_t n_ranges, const Squares& squares) {
  Batch batch{};
  batch.rules = rules;
  uint32_t n_tiles = 0;
  for (uint32_t i = 0; i < n_ranges; ++i) {
    for (uint64_t offset = 0; offset < ranges[i].n;) {
      if (batch.n == kMaxRanges || n_tiles == kTileSums) {
        launch_batch(stream, block, batch, n_tiles, squares);
        batch.n = 0;
        n_tiles = 0;
      }
      const uint64_t n = std::min<uint64_t>(ranges[i].n - offset, uint64_t{kTileSums - n_tiles} * kTile);
      batch.ranges[batch.n++] = range_of(ranges[i], offset, n, n_tiles);
      n_tiles += tiles(n);
      offset += n;
    }
  }
  launch_batch(stream, block, batch, n_tiles, squares);
}

}  // namespace

void begin_update(cudaStream_t stream, UpdateBlock* block, UpdateBlock* mirror, const UpdateRules& rules,
                  const UpdateInputs& inputs) {
  begin_kernel<<<1, kThreads, 0, stream>>>(block, mirror, rules, inputs);
  check_launch("begin_update");
}

void sum_partials(cudaStream_t stream, UpdateBlock* block, UpdateBlock* mirror) {
  sum_partials_kernel<<<1, kThreads, 0, stream>>>(block, mirror);
  check_launch("sum_partials");
}

void finish_norm(cudaStream_t stream, UpdateBlock* block, const UpdateRules& rules) {
  finish_norm_kernel<<<1, 1, 0, stream>>>(block, rules);
  check_launch("finish_norm");
}

void sum_and_finish_norm(cudaStream_t stream, UpdateBlock* block, UpdateBlock* mirror, const UpdateRules& rules) {
  sum_and_finish_kernel<<<1, kThreads, 0, stream>>>(block, mirror, rules);
  check_launch("finish_norm");
}

void apply(cudaStream_t stream, const UpdateBlock* block, const UpdateRules& rules, const UpdateRange* ranges,
           uint32_t n) {
  apply_in_batches(stream, block, rules, ranges, n, {nullptr, nullptr});
}

void apply_adding_squares(cudaStream_t stream, const UpdateBlock* block, const UpdateRules& rules,
                          const UpdateRange* ranges, uint32_t n, double* sums, double* add_to) {
  apply_in_batches(stream, block, rules, ranges, n, {sums, add_to});
}

void end_update(cudaStream_t stream, UpdateBlock* block, const UpdateRules& rules, UpdateResult* pinned) {
  end_kernel<<<1, 1, 0, stream>>>(block, rules, pinned);
  check_launch("end_update");
}

}  // namespace esp::runtime::gpu
