// AdamW's step by the instructions that the operators use for numbers of usual size, without the operators' branches:
// the update runs beside backward on whatever multiprocessors that leaves free, and there its arithmetic is what takes
// time. The bits are those of the operators.
#pragma once

#include <cstdint>

#include "runtime/cuda/element.cuh"

namespace esp::runtime::gpu {

// Of a step and a group, in fp32.
struct AdamWNumbers {
  float keep, minus_step, sqrt_bias2, inverse_bias2, one_minus_beta1, beta2, one_minus_beta2, eps;
};

// Whether |x| is in [2^low, 2^high).
__device__ inline bool within(float x, int low, int high) {
  return (__float_as_uint(x) & 0x7fffffffu) - (static_cast<uint32_t>(127 + low) << 23) <
         (static_cast<uint32_t>(high - low) << 23);
}

__device__ inline float approximate_rsqrt(float x) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline float approximate_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Correctly rounded while no intermediate number is subnormal or too large.
__device__ inline float quick_sqrt(float x) {
  const float y = approximate_rsqrt(x);
  const float root = x * y;
  return fmaf(fmaf(-root, root, x), y * 0.5f, root);
}

__device__ inline float quick_quotient(float above, float below) {
  float y = approximate_reciprocal(below);
  y = fmaf(y, fmaf(-below, y, 1.0f), y);
  float q = above * y;
  q = fmaf(y, fmaf(-below, q, above), q);
  return fmaf(y, fmaf(-below, q, above), q);
}

// inverse: 1 / below, correctly rounded; then the quotient is, too.
__device__ inline float quick_quotient(float above, float below, float inverse) {
  const float q = above * inverse;
  return fmaf(fmaf(-q, below, above), inverse, q);
}

// What weights are moved by: minus_step * m / (sqrt(v) / sqrt_bias2 + eps). eps at most 1, sqrt_bias2 in [2^-10, 1].
__device__ inline void adamw_step(const AdamWNumbers& numbers, const float (&m)[kVector], const float (&v)[kVector],
                                  float (&step)[kVector]) {
  bool usual = true;
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) {
    const float above = numbers.minus_step * m[i];
    usual = usual && within(v[i], -100, 20) && within(above, -96, 60);
    const float root = quick_quotient(quick_sqrt(v[i]), numbers.sqrt_bias2, numbers.inverse_bias2);
    step[i] = quick_quotient(above, root + numbers.eps);
  }
  if (usual) return;
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) {
    step[i] = numbers.minus_step * m[i] / (sqrtf(v[i]) / numbers.sqrt_bias2 + numbers.eps);
  }
}

}  // namespace esp::runtime::gpu
