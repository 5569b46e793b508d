#include "launch.cuh"

namespace esp::vit::fused {
namespace {

// A warp has a row; a lane has up to kPer vectors of it: lane, lane + 32, ...
constexpr int kForwardThreads = 256;
constexpr int kBackwardThreads = 384;  // with one block on a processor: up to 168 registers a thread
constexpr int kBackwardWarps = kBackwardThreads / kWarp;

template <class T, int kPer>
__global__ void __launch_bounds__(kForwardThreads)
    norm_forward_kernel(int rows, int width, int64_t x_stride, float eps, const T* __restrict__ x,
                        const T* __restrict__ gamma, const T* __restrict__ beta, T* __restrict__ y,
                        float2* __restrict__ statistics) {
  const int row = (blockIdx.x * kForwardThreads + threadIdx.x) / kWarp;
  const int lane = threadIdx.x % kWarp;
  if (row >= rows) return;
  const int vectors = width / kVector;
  float value[kPer][8];
  float sum = 0;
#pragma unroll
  for (int k = 0; k < kPer; ++k) {
    const int at = lane + k * kWarp;
    if (at < vectors) {
      load8(x + row * x_stride + at * kVector, value[k]);
    } else {
#pragma unroll
      for (float& v : value[k]) v = 0;
    }
#pragma unroll
    for (const float v : value[k]) sum += v;
  }
  const float mean = warp_sum(sum) / width;
  float square = 0;
#pragma unroll
  for (int k = 0; k < kPer; ++k) {
    if (lane + k * kWarp < vectors) {
#pragma unroll
      for (const float v : value[k]) square += (v - mean) * (v - mean);
    }
  }
  const float rstd = rsqrtf(warp_sum(square) / width + eps);
  if (lane == 0 && statistics != nullptr) statistics[row] = make_float2(mean, rstd);
#pragma unroll
  for (int k = 0; k < kPer; ++k) {
    const int at = lane + k * kWarp;
    if (at < vectors) {
      float scale[8], shift[8], out[8];
      load8(gamma + at * kVector, scale);
      load8(beta + at * kVector, shift);
#pragma unroll
      for (int i = 0; i < 8; ++i) out[i] = fmaf((value[k][i] - mean) * rstd, scale[i], shift[i]);
      store8(y + static_cast<int64_t>(row) * width + at * kVector, out);
    }
  }
}

// Persistent: a warp takes rows a grid apart and keeps the three column sums of its lanes' columns in registers.
template <class T, int kPer>
__global__ void __launch_bounds__(kBackwardThreads, 1)
    norm_backward_kernel(int rows, int width, const T* __restrict__ dy, const T* __restrict__ x,
                         const float2* __restrict__ statistics, const T* __restrict__ gamma, const T* residual,
                         int residual_every, T* dx, float* __restrict__ partials) {
  extern __shared__ float part[];  // [kBackwardWarps][width]
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int vectors = width / kVector;
  float dgamma[kPer][8] = {}, dbeta[kPer][8] = {}, dsum[kPer][8] = {};
  for (int row = blockIdx.x * kBackwardWarps + warp; row < rows; row += gridDim.x * kBackwardWarps) {
    const float2 moments = statistics[row];
    const int64_t base = static_cast<int64_t>(row) * width;
    // Kept narrow: fp32 copies would not fit the registers. All are asked for at once, so that a row waits for memory
    // once.
    uint4 xs[kPer], ds[kPer], rs[kPer];
    const bool passes = residual != nullptr && row % residual_every == 0;
    const T* from = residual + static_cast<int64_t>(row / residual_every) * width;
    float sum = 0, product = 0;
#pragma unroll
    for (int k = 0; k < kPer; ++k) {
      const int at = lane + k * kWarp;
      if (at < vectors) {
        xs[k] = *reinterpret_cast<const uint4*>(x + base + at * kVector);
        ds[k] = *reinterpret_cast<const uint4*>(dy + base + at * kVector);
        rs[k] = passes ? *reinterpret_cast<const uint4*>(from + at * kVector) : uint4{};
      }
    }
#pragma unroll
    for (int k = 0; k < kPer; ++k) {
      const int at = lane + k * kWarp;
      if (at < vectors) {
        float value[8], grad[8], scale[8];
        load8(reinterpret_cast<const T*>(&xs[k]), value);
        load8(reinterpret_cast<const T*>(&ds[k]), grad);
        load8(gamma + at * kVector, scale);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float unit = (value[i] - moments.x) * moments.y;
          const float scaled = grad[i] * scale[i];
          sum += scaled;
          product = fmaf(scaled, unit, product);
          dgamma[k][i] = fmaf(grad[i], unit, dgamma[k][i]);
          dbeta[k][i] += grad[i];
        }
      }
    }
    sum = warp_sum(sum) / width;
    product = warp_sum(product) / width;
#pragma unroll
    for (int k = 0; k < kPer; ++k) {
      const int at = lane + k * kWarp;
      if (at < vectors) {
        float value[8], grad[8], scale[8], out[8];
        load8(reinterpret_cast<const T*>(&rs[k]), out);
        load8(reinterpret_cast<const T*>(&xs[k]), value);
        load8(reinterpret_cast<const T*>(&ds[k]), grad);
        load8(gamma + at * kVector, scale);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float unit = (value[i] - moments.x) * moments.y;
          out[i] += (grad[i] * scale[i] - sum - unit * product) * moments.y;
          dsum[k][i] += out[i];
        }
        store8(dx + base + at * kVector, out);
      }
    }
  }
  // Store per warp, then add: shared-memory float atomics are compare-and-swap loops, and their order is not fixed.
#pragma unroll
  for (int kind = 0; kind < 3; ++kind) {
    if (kind > 0) __syncthreads();
#pragma unroll
    for (int k = 0; k < kPer; ++k) {
      const int at = lane + k * kWarp;
      if (at < vectors) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          part[warp * width + i * vectors + at] = kind == 0 ? dgamma[k][i] : kind == 1 ? dbeta[k][i] : dsum[k][i];
        }
      }
    }
    __syncthreads();
    for (int column = threadIdx.x; column < width; column += kBackwardThreads) {
      const int at = (column % kVector) * vectors + column / kVector;
      float total = 0;
#pragma unroll
      for (int w = 0; w < kBackwardWarps; ++w) total += part[w * width + at];
      partials[static_cast<int64_t>(blockIdx.x) * 3 * width + kind * width + column] = total;
    }
  }
}

// Calls body with the number of vectors that a lane has of a row, as a constant.
template <class Body>
void with_vectors(int width, Body&& body) {
  const int per = blocks_for(width, kWarp * kVector);
  if (width % kVector != 0 || width > kMaxNormWidth) fail(ESP_E_UNSUPPORTED, "layer norms of width ", width);
  if (per == 1) body(std::integral_constant<int, 1>());
  if (per == 2) body(std::integral_constant<int, 2>());
  if (per == 3) body(std::integral_constant<int, 3>());
  if (per == 4) body(std::integral_constant<int, 4>());
}

}  // namespace

void norm_forward(const Launch& launch, int rows, int width, int64_t x_stride, float eps, const void* x,
                  const void* gamma, const void* beta, void* y, float2* statistics) {
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    with_vectors(width, [&](auto per) {
      norm_forward_kernel<T, per()><<<blocks_for(rows, kForwardThreads / kWarp), kForwardThreads, 0, launch.stream>>>(
          rows, width, x_stride, eps, static_cast<const T*>(x), static_cast<const T*>(gamma),
          static_cast<const T*>(beta), static_cast<T*>(y), statistics);
    });
  });
  check_launch("layer norm");
}

int norm_backward_partials(int processors) { return processors; }

void norm_backward(const Launch& launch, const NormBackward& norm) {
  const size_t shared = sizeof(float) * kBackwardWarps * norm.width;  // at most 48 KiB: no opt-in
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    with_vectors(norm.width, [&](auto per) {
      norm_backward_kernel<T, per()>
          <<<norm_backward_partials(launch.processors), kBackwardThreads, shared, launch.stream>>>(
              norm.rows, norm.width, static_cast<const T*>(norm.dy), static_cast<const T*>(norm.x), norm.statistics,
              static_cast<const T*>(norm.gamma), static_cast<const T*>(norm.residual), norm.residual_every,
              static_cast<T*>(norm.dx), norm.partials);
    });
  });
  check_launch("layer norm backward");
}

}  // namespace esp::vit::fused
