#include "launch.cuh"

namespace esp::vit::fused {
namespace {

constexpr int kThreads = 256;
constexpr int kLossThreads = 1024;
constexpr int kLossWarps = kLossThreads / kWarp;

// A warp has a logit.
template <class T>
__global__ void __launch_bounds__(kThreads)
    classify_kernel(int64_t n, int width, int classes, const T* __restrict__ h, const T* __restrict__ weight,
                    const T* __restrict__ bias, float* __restrict__ logits) {
  const int64_t index = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (index >= n) return;
  const int lane = threadIdx.x % kWarp;
  const int of_class = static_cast<int>(index % classes);
  const T* x = h + index / classes * width;
  const T* w = weight + static_cast<int64_t>(of_class) * width;
  float sum = 0;
  for (int at = lane * kVector; at < width; at += kWarp * kVector) {
    float a[8], b[8];
    load8(x + at, a);
    load8(w + at, b);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(a[i], b[i], sum);
  }
  sum = warp_sum(sum);
  if (lane == 0) logits[index] = sum + Element<T>::wide(bias[of_class]);
}

// One block, a warp for a row: the order of every sum is fixed.
__global__ void __launch_bounds__(kLossThreads) loss_kernel(const Loss loss) {
  __shared__ double losses[kLossWarps];
  __shared__ unsigned hits[kLossWarps];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int valid = static_cast<int>(min(*loss.valid, static_cast<uint32_t>(loss.rows)));
  const float seed = loss.dlogits != nullptr ? *loss.seed : 0;
  double total = 0;
  unsigned hit = 0;
  for (int row = warp; row < loss.rows; row += kLossWarps) {
    const float* logits = loss.logits + static_cast<int64_t>(row) * loss.classes;
    float best = -INFINITY;
    int index = loss.classes;
    for (int c = lane; c < loss.classes; c += kWarp) {
      if (logits[c] > best || index == loss.classes) {
        best = logits[c];
        index = c;
      }
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, best, step);
      const int its = __shfl_xor_sync(0xffffffffu, index, step);
      if (other > best || (other == best && its < index)) {
        best = other;
        index = its;
      }
    }
    float sum = 0;
    for (int c = lane; c < loss.classes; c += kWarp) sum += expf(logits[c] - best);
    sum = warp_sum(sum);
    const bool counts = row < valid;
    const int64_t label = counts ? loss.labels[row] : 0;
    const bool known = label >= 0 && label < loss.classes;
    if (lane == 0 && counts) {
      total += known ? static_cast<double>(logf(sum) + best - logits[label]) : static_cast<double>(NAN);
      hit += index == label;
    }
    if (lane == 0 && loss.predicted != nullptr) loss.predicted[row] = index;
    if (loss.dlogits != nullptr) {
      float* gradient = loss.dlogits + static_cast<int64_t>(row) * loss.classes;
      for (int c = lane; c < loss.classes; c += kWarp) {
        const float p = expf(logits[c] - best) / sum;
        gradient[c] = counts ? (p - (c == label ? 1.0f : 0.0f)) * seed : 0.0f;
      }
    }
  }
  if (lane == 0) {
    losses[warp] = total;
    hits[warp] = hit;
  }
  __syncthreads();
  if (threadIdx.x != 0 || loss.loss_sum == nullptr) return;
  for (int i = 1; i < kLossWarps; ++i) {
    total += losses[i];
    hit += hits[i];
  }
  *loss.loss_sum += total;
  *loss.correct += hit;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(int64_t vectors, int width, int classes, const float* __restrict__ dlogits,
                    const T* __restrict__ weight, T* __restrict__ dh) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= vectors) return;
  const int per_row = width / kVector;
  const int64_t row = at / per_row;
  const int column = static_cast<int>(at % per_row) * kVector;
  float sum[8] = {};
  for (int c = 0; c < classes; ++c) {
    float w[8];
    load8(weight + static_cast<int64_t>(c) * width + column, w);
    const float d = dlogits[row * classes + c];
#pragma unroll
    for (int i = 0; i < 8; ++i) sum[i] = fmaf(d, w[i], sum[i]);
  }
  store8(dh + at * kVector, sum);
}

// A block has 256 columns of a class; column `width` is the bias.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gradient_kernel(int rows, int width, int classes, const float* __restrict__ dlogits, const T* __restrict__ h,
                    float* __restrict__ sums) {
  const int column = blockIdx.x * kThreads + threadIdx.x;
  const int of_class = blockIdx.y;
  if (column > width) return;
  float sum = 0;
#pragma unroll 4
  for (int row = 0; row < rows; ++row) {
    const float d = dlogits[static_cast<int64_t>(row) * classes + of_class];
    const float x = column < width ? Element<T>::wide(h[static_cast<int64_t>(row) * width + column]) : 1.0f;
    sum = fmaf(d, x, sum);
  }
  const int64_t weights = static_cast<int64_t>(classes) * width;
  sums[column < width ? static_cast<int64_t>(of_class) * width + column : weights + of_class] = sum;
}

}  // namespace

void classify(const Launch& launch, int rows, int width, int classes, const void* h, const void* weight,
              const void* bias, float* logits) {
  const int64_t n = static_cast<int64_t>(rows) * classes;
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    classify_kernel<T><<<blocks_for(n, kThreads / kWarp), kThreads, 0, launch.stream>>>(
        n, width, classes, static_cast<const T*>(h), static_cast<const T*>(weight), static_cast<const T*>(bias),
        logits);
  });
  check_launch("classifier");
}

void cross_entropy(const Launch& launch, const Loss& loss) {
  loss_kernel<<<1, kLossThreads, 0, launch.stream>>>(loss);
  check_launch("loss");
}

void classify_backward(const Launch& launch, int rows, int width, int classes, const float* dlogits, const void* weight,
                       void* dh) {
  const int64_t vectors = static_cast<int64_t>(rows) * (width / kVector);
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    backward_kernel<T><<<blocks_for(vectors, kThreads), kThreads, 0, launch.stream>>>(
        vectors, width, classes, dlogits, static_cast<const T*>(weight), static_cast<T*>(dh));
  });
  check_launch("classifier backward");
}

void classifier_gradient(const Launch& launch, int rows, int width, int classes, const float* dlogits, const void* h,
                         float* sums) {
  const dim3 grid(blocks_for(width + 1, kThreads), classes);
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    gradient_kernel<T>
        <<<grid, kThreads, 0, launch.stream>>>(rows, width, classes, dlogits, static_cast<const T*>(h), sums);
  });
  check_launch("classifier gradient");
}

}  // namespace esp::vit::fused
