// Elements of the ABI's floating dtypes on the GPU: reading and writing four at a time, widened to the type of the
// arithmetic.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <espalier/abi.h>

#include <cstdint>

#include "error.hpp"
#include "runtime/cuda/cuda_check.hpp"

namespace esp::runtime::gpu {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kVector = 4;  // elements of a thread
constexpr uint32_t kTile = kThreads * kVector;

template <class T>
struct alignas(sizeof(T) * kVector) Four {
  T v[kVector];
};

__device__ inline float widen(float x) { return x; }
__device__ inline double widen(double x) { return x; }
__device__ inline float widen(__half x) { return __half2float(x); }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
struct Narrow;
template <>
struct Narrow<float> {
  __device__ static float from(float x) { return x; }
  __device__ static float from(double x) { return static_cast<float>(x); }
};
template <>
struct Narrow<double> {
  __device__ static double from(double x) { return x; }
};
template <>
struct Narrow<__half> {
  __device__ static __half from(float x) { return __float2half_rn(x); }
  __device__ static __half from(double x) { return __double2half(x); }
};
template <>
struct Narrow<__nv_bfloat16> {
  __device__ static __nv_bfloat16 from(float x) { return __float2bfloat16_rn(x); }
  __device__ static __nv_bfloat16 from(double x) { return __double2bfloat16(x); }
};

// Whether four elements at `p` may be moved at once.
template <class T>
__device__ inline bool whole(const T* p, uint64_t first, uint64_t n) {
  return first + kVector <= n && reinterpret_cast<uintptr_t>(p + first) % sizeof(Four<T>) == 0;
}

// Elements [first, first + 4) of p, as far as there are n.
template <class Wide, class T>
__device__ inline void load4(const T* p, uint64_t first, uint64_t n, Wide (&out)[kVector]) {
  if (whole(p, first, n)) {
    const Four<T> four = *reinterpret_cast<const Four<T>*>(p + first);
#pragma unroll
    for (uint32_t i = 0; i < kVector; ++i) out[i] = static_cast<Wide>(widen(four.v[i]));
    return;
  }
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) out[i] = first + i < n ? static_cast<Wide>(widen(p[first + i])) : Wide(0);
}

template <class Wide, class T>
__device__ inline void store4(T* p, uint64_t first, uint64_t n, const Wide (&values)[kVector]) {
  if (whole(p, first, n)) {
    Four<T> four;
#pragma unroll
    for (uint32_t i = 0; i < kVector; ++i) four.v[i] = Narrow<T>::from(values[i]);
    *reinterpret_cast<Four<T>*>(p + first) = four;
    return;
  }
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) {
    if (first + i < n) p[first + i] = Narrow<T>::from(values[i]);
  }
}

// Calls visit(T*) with the element type of a dtype.
template <class Visit>
void with_type(esp_dtype dtype, Visit visit) {
  switch (dtype) {
    case ESP_F32:
      return visit(static_cast<float*>(nullptr));
    case ESP_F16:
      return visit(static_cast<__half*>(nullptr));
    case ESP_BF16:
      return visit(static_cast<__nv_bfloat16*>(nullptr));
    case ESP_F64:
      return visit(static_cast<double*>(nullptr));
    default:
      throw Error(ExitCode::kPlugin, "dtype " + std::to_string(dtype) + " has no arithmetic");
  }
}

// A launch works on parts, each a number of tiles: the part that a tile belongs to. parts: by first_tile, ascending.
template <class Part>
__device__ inline const Part& part_of_tile(const Part* parts, uint32_t n, uint32_t tile) {
  uint32_t low = 0, high = n;
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (parts[middle].first_tile <= tile ? low : high) = middle;
  }
  return parts[low];
}

// Of the block's kThreads threads, added in one order; all get it.
__device__ inline double sum_of_block(double mine) {
  __shared__ double parts[kThreads / 32];
  for (uint32_t step = 16; step > 0; step /= 2) mine += __shfl_down_sync(~0u, mine, step);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = mine;
  __syncthreads();
  double sum = 0;
  for (double part : parts) sum += part;
  __syncthreads();
  return sum;
}

inline uint32_t tiles(uint64_t n) { return static_cast<uint32_t>((n + kTile - 1) / kTile); }

inline void check_launch(const char* kernel) { check_cuda(cudaGetLastError(), std::string("launching ") + kernel); }

}  // namespace esp::runtime::gpu
