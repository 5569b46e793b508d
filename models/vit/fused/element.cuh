// What bf16 and fp16 have in common for kernels: conversions, vectors of eight, tensor-core products, warp sums.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace esp::vit::fused {

template <class T>
struct Element;

template <>
struct Element<__nv_bfloat16> {
  using Pair = __nv_bfloat162;
  static __device__ float wide(__nv_bfloat16 x) { return __bfloat162float(x); }
  static __device__ __nv_bfloat16 narrow(float x) { return __float2bfloat16_rn(x); }
  static __device__ float2 wide2(uint32_t bits) {
    return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
  }
  static __device__ uint32_t narrow2(float lo, float hi) {
    const Pair pair = __floats2bfloat162_rn(lo, hi);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
};

template <>
struct Element<__half> {
  using Pair = __half2;
  static __device__ float wide(__half x) { return __half2float(x); }
  static __device__ __half narrow(float x) { return __float2half_rn(x); }
  static __device__ float2 wide2(uint32_t bits) { return __half22float2(*reinterpret_cast<const Pair*>(&bits)); }
  static __device__ uint32_t narrow2(float lo, float hi) {
    const Pair pair = __floats2half2_rn(lo, hi);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
};

inline constexpr int kVector = 8;  // elements of 16 bytes
inline constexpr int kWarp = 32;

template <class T>
__device__ __forceinline__ void load8(const T* from, float (&out)[8]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(from);
  const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = Element<T>::wide2(words[i]);
    out[2 * i] = pair.x;
    out[2 * i + 1] = pair.y;
  }
}

template <class T>
__device__ __forceinline__ void store8(T* to, const float (&in)[8]) {
  uint4 bits;
  bits.x = Element<T>::narrow2(in[0], in[1]);
  bits.y = Element<T>::narrow2(in[2], in[3]);
  bits.z = Element<T>::narrow2(in[4], in[5]);
  bits.w = Element<T>::narrow2(in[6], in[7]);
  *reinterpret_cast<uint4*>(to) = bits;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
  return x;
}

}  // namespace esp::vit::fused
