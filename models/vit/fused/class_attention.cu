#include "attention.cuh"

namespace esp::vit::fused {
namespace {

constexpr int kThreads = 256;  // a thread for each key: more than kMaxTokens
constexpr int kWarps = kThreads / kWarp;
static_assert(kThreads >= kMaxTokens);

__device__ __forceinline__ float block_reduce(float x, bool maximum, float* shared) {
  x = maximum ? warp_max(x) : warp_sum(x);
  __syncthreads();  // the last use of `shared` is over
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = shared[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) x = maximum ? fmaxf(x, shared[i]) : x + shared[i];
  return x;
}

template <class T>
__device__ __forceinline__ float dot(const float* a, const T* __restrict__ b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kHeadWidth; i += kVector) {
    float value[8];
    load8(b + i, value);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fmaf(a[i + j], value[j], sum);
  }
  return sum;
}

// out[64] = sum over keys of weight[key] * rows[key][64], in the order of warps, then keys.
template <class T>
__device__ __forceinline__ float weigh(const float* weight, const T* __restrict__ rows, int64_t stride, int n,
                                       float (&part)[kWarps][kHeadWidth]) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  float2 sum = make_float2(0, 0);
  for (int key = warp; key < n; key += kWarps) {
    const float2 value = Element<T>::wide2(*reinterpret_cast<const uint32_t*>(rows + key * stride + 2 * lane));
    sum.x = fmaf(weight[key], value.x, sum.x);
    sum.y = fmaf(weight[key], value.y, sum.y);
  }
  part[warp][2 * lane] = sum.x;
  part[warp][2 * lane + 1] = sum.y;
  __syncthreads();
  float total = 0;
  if (threadIdx.x < kHeadWidth) {
#pragma unroll
    for (int i = 0; i < kWarps; ++i) total += part[i][threadIdx.x];
  }
  return total;
}

template <class T>
struct Arrays {
  int tokens, heads;
  const T* q;
  const T* kv;
  const T* dout;
  T* out;  // or dq
  T* dkv;
  float* partials;
};

// A block has a head of an image.
template <class T, bool kBackward>
__global__ void __launch_bounds__(kThreads) class_kernel(const Arrays<T> arrays) {
  __shared__ float query[kHeadWidth], gradient[kHeadWidth], weight[kThreads], scratch[kWarps];
  __shared__ float part[kWarps][kHeadWidth];
  const int n = arrays.tokens;
  const int width = arrays.heads * kHeadWidth;
  const int image = blockIdx.x / arrays.heads;
  const int column = blockIdx.x % arrays.heads * kHeadWidth;
  const int64_t row = static_cast<int64_t>(image) * width + column;
  const T* keys = arrays.kv + static_cast<int64_t>(image) * n * 2 * width + column;
  const T* values = keys + width;
  const int key = threadIdx.x;
  if (key < kHeadWidth) {
    query[key] = Element<T>::wide(arrays.q[row + key]);
    if (kBackward) gradient[key] = Element<T>::wide(arrays.dout[row + key]);
  }
  __syncthreads();
  const float score = key < n ? dot(query, keys + static_cast<int64_t>(key) * 2 * width) * kLog2Scale : -INFINITY;
  const float top = block_reduce(score, true, scratch);
  const float e = key < n ? exp2f(score - top) : 0;
  const float p = e / block_reduce(e, false, scratch);
  if (!kBackward) {
    weight[key] = p;
    __syncthreads();
    const float out = weigh(weight, values, 2 * width, n, part);
    if (key < kHeadWidth) arrays.out[row + key] = Element<T>::narrow(out);
    return;
  }
  const float dp = key < n ? dot(gradient, values + static_cast<int64_t>(key) * 2 * width) : 0;
  const float ds = p * (dp - block_reduce(p * dp, false, scratch)) * kScale;
  weight[key] = ds;
  if (key < n) {
    T* to = arrays.dkv + (static_cast<int64_t>(image) * n + key) * 2 * width + column;
#pragma unroll
    for (int i = 0; i < kHeadWidth; i += kVector) {
      float dk[8], dv[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        dk[j] = ds * query[i + j];
        dv[j] = p * gradient[i + j];
      }
      store8(to + i, dk);
      store8(to + width + i, dv);
    }
  }
  __syncthreads();
  const float dq = weigh(weight, keys, 2 * width, n, part);
  if (key < kHeadWidth) {
    arrays.out[row + key] = Element<T>::narrow(dq);
    float* sums = arrays.partials + static_cast<int64_t>(image) * 2 * width + column;
    sums[key] = dq;
    sums[width + key] = gradient[key];  // probabilities add up to 1
  }
}

template <bool kBackward>
void launch_class(const Launch& launch, const AttentionShape& shape, const void* q, const void* kv, const void* dout,
                  void* out, void* dkv, float* partials) {
  check_shape(shape);
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    const Arrays<T> arrays{shape.tokens,
                           shape.heads,
                           static_cast<const T*>(q),
                           static_cast<const T*>(kv),
                           static_cast<const T*>(dout),
                           static_cast<T*>(out),
                           static_cast<T*>(dkv),
                           partials};
    class_kernel<T, kBackward><<<shape.images * shape.heads, kThreads, 0, launch.stream>>>(arrays);
  });
  check_launch("attention of the class token");
}

}  // namespace

void class_attention_forward(const Launch& launch, const AttentionShape& shape, const void* q, const void* kv,
                             void* out) {
  launch_class<false>(launch, shape, q, kv, nullptr, out, nullptr, nullptr);
}

void class_attention_backward(const Launch& launch, const AttentionShape& shape, const void* q, const void* kv,
                              const void* dout, void* dq, void* dkv, float* partials) {
  launch_class<true>(launch, shape, q, kv, dout, dq, dkv, partials);
}

}  // namespace esp::vit::fused
