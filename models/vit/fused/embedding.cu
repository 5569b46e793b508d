#include "launch.cuh"

namespace esp::vit::fused {
namespace {

constexpr int kThreads = 256;
constexpr int kSumThreads = 128;

// A thread has eight neighbouring pixels of a patch's row, all three channels.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(int64_t threads, const PatchShape shape, const PixelMap map, const uint8_t* __restrict__ pixels,
                  const uint8_t* __restrict__ flip, T* __restrict__ out) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= threads) return;
  const int area = shape.patch * shape.patch;
  const int grid = shape.side / shape.patch;
  const int tokens = grid * grid + 1;
  const int in_patch = static_cast<int>(at % (area / kVector)) * kVector;
  const int64_t row = at / (area / kVector);
  const int token = static_cast<int>(row % tokens);
  const int image = static_cast<int>(row / tokens);
  T* to = out + row * 3 * area + in_patch;
  float value[3][8] = {};
  if (token != 0) {
    const int y = (token - 1) / grid * shape.patch + in_patch / shape.patch;
    const int x = (token - 1) % grid * shape.patch + in_patch % shape.patch;
    const bool mirrored = flip[image] != 0;
    const int first = mirrored ? shape.side - kVector - x : x;
    const uint2* from = reinterpret_cast<const uint2*>(
        pixels + ((static_cast<int64_t>(image) * shape.side + y) * shape.side + first) * 3);
    const uint2 words[3] = {from[0], from[1], from[2]};
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(words);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        const float forward = bytes[3 * i + c];
        const float backward = bytes[3 * (7 - i) + c];
        value[c][i] = fmaf(mirrored ? backward : forward, map.scale[c], map.shift[c]);
      }
    }
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) store8(to + c * area, value[c]);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    embed_kernel(int64_t vectors, int tokens, int width, const T* __restrict__ position, const T* __restrict__ cls,
                 const T* __restrict__ bias, T* __restrict__ x) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= vectors) return;
  const int per_row = width / kVector;
  const int column = static_cast<int>(at % per_row) * kVector;
  const int token = static_cast<int>(at / per_row % tokens);
  float value[8], where[8], more[8];
  load8(x + at * kVector, value);
  load8(position + static_cast<int64_t>(token) * width + column, where);
  load8((token == 0 ? cls : bias) + column, more);
#pragma unroll
  for (int i = 0; i < 8; ++i) value[i] += where[i] + more[i];
  store8(x + at * kVector, value);
}

template <class T>
__global__ void __launch_bounds__(kSumThreads)
    sum_images_kernel(int images, int64_t elements, const T* __restrict__ dx, float* __restrict__ sums) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x) * kVector;
  if (at >= elements) return;
  float total[8] = {};
#pragma unroll 4
  for (int image = 0; image < images; ++image) {
    float value[8];
    load8(dx + image * elements + at, value);
#pragma unroll
    for (int i = 0; i < 8; ++i) total[i] += value[i];
  }
  float4* to = reinterpret_cast<float4*>(sums + at);
  to[0] = make_float4(total[0], total[1], total[2], total[3]);
  to[1] = make_float4(total[4], total[5], total[6], total[7]);
}

}  // namespace

void gather_patches(const Launch& launch, const PatchShape& shape, const PixelMap& map, const uint8_t* pixels,
                    const uint8_t* flip, void* out) {
  if (shape.patch % kVector != 0) fail(ESP_E_UNSUPPORTED, "patches of ", shape.patch, " pixels");
  const int64_t grid = shape.side / shape.patch;
  const int64_t threads = shape.images * (grid * grid + 1) * (shape.patch * shape.patch / kVector);
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    gather_kernel<T><<<blocks_for(threads, kThreads), kThreads, 0, launch.stream>>>(threads, shape, map, pixels, flip,
                                                                                    static_cast<T*>(out));
  });
  check_launch("gathering patches");
}

void embed(const Launch& launch, int images, int tokens, int width, const void* position, const void* cls,
           const void* bias, void* x) {
  const int64_t vectors = static_cast<int64_t>(images) * tokens * (width / kVector);
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    embed_kernel<T><<<blocks_for(vectors, kThreads), kThreads, 0, launch.stream>>>(
        vectors, tokens, width, static_cast<const T*>(position), static_cast<const T*>(cls),
        static_cast<const T*>(bias), static_cast<T*>(x));
  });
  check_launch("embedding");
}

void sum_images(const Launch& launch, int images, int tokens, int width, const void* dx, float* sums) {
  const int64_t elements = static_cast<int64_t>(tokens) * width;
  with_element(launch.half, [&](auto element) {
    using T = decltype(element);
    sum_images_kernel<T><<<blocks_for(elements, kSumThreads * kVector), kSumThreads, 0, launch.stream>>>(
        images, elements, static_cast<const T*>(dx), sums);
  });
  check_launch("summing images");
}

}  // namespace esp::vit::fused
