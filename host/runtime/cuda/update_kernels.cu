// esp.update on the GPU: norm, clipping, scaler, AdamW and SGD over many ranges in one launch. The arithmetic is that of
// the CPU device, operation by operation (this file is compiled without contraction).
#include <algorithm>

#include "runtime/cuda/device_kernels.hpp"
#include "runtime/cuda/element.cuh"
#include "runtime/device/update_step.hpp"

namespace esp::runtime::gpu {
namespace {

constexpr uint32_t kMaxRanges = 56;         // of one launch: arguments of a kernel are at most 4 KiB everywhere

__global__ void begin_kernel(UpdateBlock* block, UpdateBlock* mirror, const __grid_constant__ UpdateRules rules,
                             const __grid_constant__ UpdateInputs inputs) {
  for (uint32_t i = threadIdx.x; i < kMaxStreams; i += blockDim.x) {
    block->partial[i] = 0;
    mirror->partial[i] = 0;
  }
  if (threadIdx.x == 0) begin_numbers(*block, rules, inputs);
}

// One thread: the order of the sum is that of the streams.
__global__ void sum_partials_kernel(UpdateBlock* block, UpdateBlock* mirror) {
  __shared__ double parts[kMaxStreams];
  for (uint32_t i = threadIdx.x; i < kMaxStreams; i += blockDim.x) {
    parts[i] = block->partial[i] + mirror->partial[i];
    block->partial[i] = 0;
    mirror->partial[i] = 0;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  double sum = 0;
  for (double part : parts) sum += part;
  block->sum = sum;
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

__device__ void adamw(const Range& range, uint64_t first, const UpdateBlock& block, const UpdateRules& rules, float coef,
                      float (&p)[kVector]) {
  const auto keep = static_cast<float>(block.keep[range.group]);
  const auto minus_step = static_cast<float>(-block.step_size[range.group]);
  const auto sqrt_bias2 = static_cast<float>(block.sqrt_bias2);
  const auto one_minus_beta1 = static_cast<float>(1 - rules.beta1);
  const auto beta2 = static_cast<float>(rules.beta2);
  const auto one_minus_beta2 = static_cast<float>(1 - rules.beta2);
  const auto eps = static_cast<float>(rules.eps);
  float g[kVector], m[kVector], v[kVector];
  load_kind(range.grad, range.grad_t, first, range.n, g);
  load4(range.slot0, first, range.n, m);
  load4(range.slot1, first, range.n, v);
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) {
    const float scaled = g[i] * coef;
    const float decayed = p[i] * keep;
    m[i] = m[i] + one_minus_beta1 * (scaled - m[i]);
    v[i] = v[i] * beta2 + one_minus_beta2 * scaled * scaled;
    p[i] = decayed + minus_step * m[i] / (sqrtf(v[i]) / sqrt_bias2 + eps);
  }
  store4(range.slot0, first, range.n, m);
  store4(range.slot1, first, range.n, v);
}

__device__ void sgd(const Range& range, uint64_t first, const UpdateBlock& block, const UpdateRules& rules, float coef,
                    float (&p)[kVector]) {
  const auto decay = static_cast<float>(block.exact_decay[range.group]);
  const auto minus_lr = static_cast<float>(-block.exact_lr[range.group]);
  const auto momentum = static_cast<float>(rules.momentum);
  float g[kVector], velocity[kVector];
  load_kind(range.grad, range.grad_t, first, range.n, g);
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
__global__ void __launch_bounds__(kThreads) apply_kernel(const UpdateBlock* block, const __grid_constant__ Batch batch) {
  if (batch.rules.barrier && block->found_inf != 0) return;
  const Range& range = part_of_tile(batch.ranges, batch.n, blockIdx.x);
  const uint64_t first = static_cast<uint64_t>(blockIdx.x - range.first_tile) * kTile + threadIdx.x * kVector;
  if (first >= range.n) return;
  // Without barrier nothing clips or scales.
  const float coef = batch.rules.barrier ? static_cast<float>(block->exact_coef) : 1.0f;
  float p[kVector];
  load4(range.master, first, range.n, p);
  batch.rules.adamw ? adamw(range, first, *block, batch.rules, coef, p) : sgd(range, first, *block, batch.rules, coef, p);
  store4(range.master, first, range.n, p);
  if (range.out != nullptr) store_kind(range.out, range.out_t, first, range.n, p);
}

void launch_batch(cudaStream_t stream, const UpdateBlock* block, const Batch& batch, uint32_t n_tiles) {
  if (batch.n == 0) return;
  apply_kernel<<<n_tiles, kThreads, 0, stream>>>(block, batch);
  check_launch("the update");
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

void apply(cudaStream_t stream, const UpdateBlock* block, const UpdateRules& rules, const UpdateRange* ranges,
           uint32_t n_ranges) {
  Batch batch{};
  batch.rules = rules;
  uint32_t n_tiles = 0;
  for (uint32_t i = 0; i < n_ranges; ++i) {
    const UpdateRange& range = ranges[i];
    if (range.n == 0) continue;
    if (range.master_t != ESP_F32) throw Error(ExitCode::kPlugin, "master weights on a GPU are fp32");
    if (batch.n == kMaxRanges) {
      launch_batch(stream, block, batch, n_tiles);
      batch.n = 0;
      n_tiles = 0;
    }
    batch.ranges[batch.n++] = {range.n,
                               static_cast<float*>(range.master),
                               static_cast<float*>(range.slots[0]),
                               static_cast<float*>(range.slots[1]),
                               range.grad,
                               range.out,
                               static_cast<uint16_t>(range.group),
                               kind_of(range.grad_t),
                               range.out == nullptr ? kF32 : kind_of(range.out_t),
                               n_tiles};
    n_tiles += tiles(range.n);
  }
  launch_batch(stream, block, batch, n_tiles);
}

void end_update(cudaStream_t stream, UpdateBlock* block, const UpdateRules& rules, UpdateResult* pinned) {
  end_kernel<<<1, 1, 0, stream>>>(block, rules, pinned);
  check_launch("end_update");
}

}  // namespace esp::runtime::gpu
