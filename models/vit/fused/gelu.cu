#include "launch.cuh"

namespace esp::vit::fused {
namespace {

constexpr int kThreads = 256;
constexpr int kRowWarps = kThreads / kWarp;
constexpr int kStrip = kWarp * kVector;  // columns of a block in backward

// Phi(x), the normal distribution, by Abramowitz and Stegun 7.1.26 (error below 1.5e-7); *density becomes
// exp(-x^2 / 2). The two share the exponential: erff would make these kernels compute-bound.
__device__ __forceinline__ float normal(float x, float* density) {
  const float z = fabsf(x) * 0.70710678118654752f;
  const float t = __fdividef(1.0f, fmaf(0.3275911f, z, 1.0f));
  const float e = __expf(-z * z);
  float poly = fmaf(1.061405429f, t, -1.453152027f);
  poly = fmaf(poly, t, 1.421413741f);
  poly = fmaf(poly, t, -0.284496736f);
  poly = fmaf(poly, t, 0.254829592f);
  const float tail = 0.5f * poly * t * e;  // 1 - Phi(|x|)
  *density = e;
  return x >= 0 ? 1.0f - tail : tail;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    gelu_forward_kernel(int64_t vectors, const T* __restrict__ u, T* __restrict__ g) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= vectors) return;
  float x[8];
  load8(u + at * kVector, x);
#pragma unroll
  for (float& value : x) {
    float density;
    value *= normal(value, &density);
  }
  store8(g + at * kVector, x);
}

// A block: a strip of columns, a range of rows; a thread: eight columns of every eighth row.
template <class T, bool kRewrite>
__global__ void __launch_bounds__(kThreads)
    gelu_backward_kernel(int rows, int width, int rows_per_block, const T* __restrict__ u, T* __restrict__ du,
                         T* __restrict__ g, float* __restrict__ partials) {
  __shared__ float part[kRowWarps][kStrip];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int column = blockIdx.x * kStrip + lane * kVector;
  const int begin = blockIdx.y * rows_per_block;
  const int end = min(begin + rows_per_block, rows);
  float sums[8] = {};
  if (column < width) {
#pragma unroll 2
    for (int row = begin + warp; row < end; row += kRowWarps) {
      const int64_t at = static_cast<int64_t>(row) * width + column;
      float x[8], d[8], y[8];
      load8(u + at, x);
      load8(du + at, d);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float density;
        const float phi = normal(x[i], &density);
        d[i] *= fmaf(x[i] * 0.39894228040143268f, density, phi);
        y[i] = x[i] * phi;
        sums[i] += d[i];
      }
      store8(du + at, d);
      if (kRewrite) store8(g + at, y);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) part[warp][i * kWarp + lane] = sums[i];
  __syncthreads();
  // Column c of the strip stands at [c % 8][c / 8].
  const int of_strip = threadIdx.x;
  const int target = blockIdx.x * kStrip + of_strip;
  if (target >= width) return;
  const int at = (of_strip % kVector) * kWarp + of_strip / kVector;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kRowWarps; ++i) sum += part[i][at];
  partials[static_cast<int64_t>(blockIdx.y) * width + target] = sum;
}

int rows_per_partial(int processors, int rows, int width) {
  const int strips = blocks_for(width, kStrip);
  const int wanted = blocks_for(4 * processors, strips);
  return blocks_for(blocks_for(rows, wanted), kRowWarps) * kRowWarps;
}

}  // namespace

void gelu_forward(const Launch& launch, int64_t elements, const void* u, void* g) {
  const int64_t vectors = elements / kVector;
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    gelu_forward_kernel<T><<<blocks_for(vectors, kThreads), kThreads, 0, launch.stream>>>(
        vectors, static_cast<const T*>(u), static_cast<T*>(g));
  });
  check_launch("GELU");
}

int gelu_backward_partials(int processors, int rows, int width) {
  return blocks_for(rows, rows_per_partial(processors, rows, width));
}

void gelu_backward(const Launch& launch, int rows, int width, const void* u, void* du, void* g, float* partials) {
  const int per_block = rows_per_partial(launch.processors, rows, width);
  const dim3 grid(blocks_for(width, kStrip), blocks_for(rows, per_block));
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    const auto kernel = g != nullptr ? gelu_backward_kernel<T, true> : gelu_backward_kernel<T, false>;
    kernel<<<grid, kThreads, 0, launch.stream>>>(rows, width, per_block, static_cast<const T*>(u), static_cast<T*>(du),
                                                 static_cast<T*>(g), partials);
  });
  check_launch("GELU backward");
}

}  // namespace esp::vit::fused
