// The warpgroup products (wgmma, sm_90a) that attention uses, and the copies around them.
//
// Fragments of a warpgroup, for its warp w, g = lane / 4 and t = lane % 4:
//   D (64 x N): [4 j], [4 j + 1] row 16 w + g, columns 8 j + 2 t and + 1;  [4 j + 2], [4 j + 3] the same of row + 8
//   A (64 x 16) in registers: what mma.sync m16n8k16 has, warp w with rows 16 w ...
// so eight neighbouring D values, made narrow, are an A fragment.
#pragma once

#include "attention.cuh"
#include "attention_layout.hpp"

// The products exist for sm_90a alone; other architectures get kernels without a body, which are never launched.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ESP_HAS_WGMMA 1
#else
#define ESP_HAS_WGMMA 0
#endif

namespace esp::vit::fused::wgmma {

inline constexpr int kGroupThreads = 128;

#if ESP_HAS_WGMMA

// Order of registers and of shared memory between this warpgroup's instructions and the products that follow.
__device__ __forceinline__ void fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void commit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
template <int kLeft>
__device__ __forceinline__ void wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kLeft) : "memory");
}
// Keeps the compiler from moving uses of `d` over this point: products in flight write it.
template <int kN>
__device__ __forceinline__ void hold(float (&d)[kN]) {
#pragma unroll
  for (int i = 0; i < kN; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
template <int kN>
__device__ __forceinline__ void hold(uint32_t (&a)[kN][4]) {
#pragma unroll
  for (int i = 0; i < kN * 4; ++i) asm volatile("" : "+r"(a[i / 4][i % 4])::"memory");
}
// Makes this thread's writes of shared memory (also by cp.async that was waited for) visible to products, which read
// through the asynchronous proxy. Before the barrier that the readers pass.
__device__ __forceinline__ void publish() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }
// Of one of a block's groups.
template <int kGroups>
__device__ __forceinline__ void group_barrier(int group) {
  if constexpr (kGroups == 1) {
    __syncthreads();
  } else {
    asm volatile("bar.sync %0, 128;\n" ::"r"(1 + group) : "memory");
  }
}

enum class Read { kAlong, kAcross };  // attention_layout.hpp

// Operand lists of D: registers of the instruction, and where they come from.
#define ESP_TEN(n) "%" #n "0, %" #n "1, %" #n "2, %" #n "3, %" #n "4, %" #n "5, %" #n "6, %" #n "7, %" #n "8, %" #n "9"
#define ESP_C4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define ESP_C20(i) ESP_C4(i), ESP_C4(i + 4), ESP_C4(i + 8), ESP_C4(i + 12), ESP_C4(i + 16)
#define ESP_REGISTERS_16 "%0, %1, %2, %3, %4, %5, %6, %7"
#define ESP_SOURCES_16 ESP_C4(0), ESP_C4(4)
#define ESP_REGISTERS_32 ESP_TEN() ", %10, %11, %12, %13, %14, %15"
#define ESP_SOURCES_32 ESP_C4(0), ESP_C4(4), ESP_C4(8), ESP_C4(12)
#define ESP_REGISTERS_64 ESP_TEN() ", " ESP_TEN(1) ", " ESP_TEN(2) ", %30, %31"
#define ESP_SOURCES_64 ESP_C20(0), ESP_C4(20), ESP_C4(24), ESP_C4(28)
#define ESP_REGISTERS_200                                                                                       \
  ESP_TEN()                                                                                                     \
  ", " ESP_TEN(1) ", " ESP_TEN(2) ", " ESP_TEN(3) ", " ESP_TEN(4) ", " ESP_TEN(5) ", " ESP_TEN(6) ", " ESP_TEN( \
      7) ", " ESP_TEN(8) ", " ESP_TEN(9)
#define ESP_SOURCES_200 ESP_C20(0), ESP_C20(20), ESP_C20(40), ESP_C20(60), ESP_C20(80)
#define ESP_REGISTERS_208 ESP_REGISTERS_200 ", %100, %101, %102, %103"
#define ESP_SOURCES_208 ESP_SOURCES_200, ESP_C4(100)

// d (64 x N) (+)= a (64 x 16) * b (16 x N), asynchronously; a and b by their descriptors.
template <class T, int kN>
struct Product;

// a, b, add, read_a, read_b: numbers of the operands behind the N / 2 of D.
#define ESP_PRODUCT(CPP, TYPE, N, a, b, add, read_a, read_b)                                                     \
  template <>                                                                                                    \
  struct Product<CPP, N> {                                                                                       \
    template <Read kA, Read kB>                                                                                  \
    static __device__ __forceinline__ void run(float (&d)[N / 2], uint64_t from_a, uint64_t from_b, bool adds) { \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #add ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N        \
                   "k16.f32." TYPE "." TYPE " {" ESP_REGISTERS_##N "}, %" #a ", %" #b ", p, 1, 1, %" #read_a     \
                                                                   ", %" #read_b ";\n}\n"                        \
                   : ESP_SOURCES_##N                                                                             \
                   : "l"(from_a), "l"(from_b), "r"(static_cast<int>(adds)), "n"(static_cast<int>(kA)),           \
                     "n"(static_cast<int>(kB)));                                                                 \
    }                                                                                                            \
  };
ESP_PRODUCT(__nv_bfloat16, "bf16", 16, 8, 9, 10, 11, 12)
ESP_PRODUCT(__half, "f16", 16, 8, 9, 10, 11, 12)
ESP_PRODUCT(__nv_bfloat16, "bf16", 32, 16, 17, 18, 19, 20)
ESP_PRODUCT(__half, "f16", 32, 16, 17, 18, 19, 20)
ESP_PRODUCT(__nv_bfloat16, "bf16", 64, 32, 33, 34, 35, 36)
ESP_PRODUCT(__half, "f16", 64, 32, 33, 34, 35, 36)
ESP_PRODUCT(__nv_bfloat16, "bf16", 200, 100, 101, 102, 103, 104)
ESP_PRODUCT(__half, "f16", 200, 100, 101, 102, 103, 104)
ESP_PRODUCT(__nv_bfloat16, "bf16", 208, 104, 105, 106, 107, 108)
ESP_PRODUCT(__half, "f16", 208, 104, 105, 106, 107, 108)
#undef ESP_PRODUCT

// d (64 x 64) (+)= a (64 x 16, in registers) * b (16 x 64, read across), asynchronously: neither d nor a may be touched
// until it was waited for.
#define ESP_PRODUCT(CPP, TYPE)                                                                                         \
  __device__ __forceinline__ void multiply(CPP, float(&d)[32], const uint32_t(&a)[4], uint64_t from_b, bool adds) {    \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE \
                 " {" ESP_REGISTERS_64 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"                                \
                 : ESP_SOURCES_64                                                                                      \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(from_b), "r"(static_cast<int>(adds)));              \
  }
ESP_PRODUCT(__nv_bfloat16, "bf16")
ESP_PRODUCT(__half, "f16")
#undef ESP_PRODUCT
#undef ESP_TEN
#undef ESP_C4
#undef ESP_C20
#undef ESP_REGISTERS_16
#undef ESP_SOURCES_16
#undef ESP_REGISTERS_32
#undef ESP_SOURCES_32
#undef ESP_REGISTERS_64
#undef ESP_SOURCES_64
#undef ESP_REGISTERS_200
#undef ESP_SOURCES_200
#undef ESP_REGISTERS_208
#undef ESP_SOURCES_208

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

// Narrow A fragments of a row of D fragments; what is missing of the last one is zero.
template <class T, int kN, int kSteps>
__device__ __forceinline__ void pack(uint32_t (&a)[kSteps][4], const float (&d)[kN]) {
#pragma unroll
  for (int i = 0; i < kSteps * 4; ++i) {
    a[i / 4][i % 4] = 2 * i + 1 < kN ? Element<T>::narrow2(d[2 * i], d[2 * i + 1]) : 0;
  }
}

// A warp's 16 rows of o, from `first` on, by way of the same rows of a tile: so a row leaves in pieces of 16 bytes.
// Called once nobody reads those rows of the tile any more.
template <class T>
__device__ __forceinline__ void store_rows(const float (&o)[32], const float (&scale)[2], unsigned char* tile, T* to,
                                           int64_t stride, int first, int there) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = first + lane / 4 + 8 * i;
    if (row >= there) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      *reinterpret_cast<uint32_t*>(tile + swizzled(row, j) + lane % 4 * 4) =
          Element<T>::narrow2(o[4 * j + 2 * i] * scale[i], o[4 * j + 2 * i + 1] * scale[i]);
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first + lane / kChunks + 4 * i;
    if (row >= there) continue;
    *reinterpret_cast<uint4*>(to + row * stride + lane % kChunks * kVector) =
        *reinterpret_cast<const uint4*>(tile + swizzled(row, lane % kChunks));
  }
}

#endif  // ESP_HAS_WGMMA

// Rows [first, first + kRows) of a tile from rows `stride` elements apart; those at and beyond `there` become zeros.
// By kThreads threads, with their own number of them.
template <class T, int kThreads, int kRows>
__device__ __forceinline__ void load_rows(int thread, uint32_t tile, const T* from, int64_t stride, int first,
                                          int there) {
  constexpr int kAtOnce = kThreads / kChunks;
  static_assert(kAtOnce % 8 == 0, "a thread keeps its chunk of the swizzle");
  const int row = first + thread / kChunks;
  const int chunk = thread % kChunks;
  const uint32_t to = tile + swizzled(row, chunk);
  const T* source = from + row * stride + chunk * kVector;
#pragma unroll
  for (int r = 0; r < kRows; r += kAtOnce) {
    if (kRows % kAtOnce != 0 && r + kAtOnce > kRows && row - first + r >= kRows) continue;
    const bool exists = row + r < there;
    copy_async(to + r * kRow, exists ? source + r * stride : from, exists);
  }
}

}  // namespace esp::vit::fused::wgmma
