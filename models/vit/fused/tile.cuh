// Tiles of 64-wide rows in shared memory and the tensor-core products over them (mma.sync m16n8k16, ldmatrix,
// cp.async).
//
// Fragments, with g = lane / 4 and t = lane % 4:
//   A (16 x 16): [0] row g, columns 2t, 2t + 1;  [1] row g + 8;  [2] columns + 8;  [3] both
//   B (16 x 8):  [0] rows 2t, 2t + 1 of column g;  [1] rows + 8
//   C (16 x 8):  [0], [1] row g, columns 2t, 2t + 1;  [2], [3] row g + 8
// So a C fragment pair, made narrow, is an A fragment.
#pragma once

#include "element.cuh"

namespace esp::vit::fused {

inline constexpr int kRowBytes = 128;  // of a tile: 64 halves
inline constexpr int kChunks = 8;      // of 16 bytes, in a tile's row

// Rows of 128 bytes would put eight of them on the same banks; chunk c of row r stands at c ^ (r % 8).
__device__ __forceinline__ uint32_t tile_offset(int row, int chunk) {
  return static_cast<uint32_t>(row * kRowBytes + ((chunk ^ (row & 7)) << 4));
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes, or zeros where `there` is false (then `from` is not read but must be a valid address).
__device__ __forceinline__ void copy_async(uint32_t to, const void* from, bool there) {
  const int bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int kLeft>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kLeft) : "memory");
}

// Rows [0, rows) of a tile from rows `stride` elements apart; those at and beyond `there` become zeros.
template <class T>
__device__ __forceinline__ void load_tile(uint32_t tile, const T* from, int64_t stride, int rows, int there) {
  for (int i = threadIdx.x; i < rows * kChunks; i += blockDim.x) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const bool exists = row < there;
    copy_async(tile + tile_offset(row, chunk), from + (exists ? row * stride + chunk * kVector : 0), exists);
  }
}

__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// Which row and which column of eight a lane points ldmatrix at, for the four 8 x 8 matrices of a 16 x 16 tile.
// Down first: the matrices are (0, 0), (8, 0), (0, 8), (8, 8) as (row, column); across first: (0, 0), (0, 8), (8, 0),
// ...
struct Lane {
  int down_row, down_chunk, across_row, across_chunk;
  __device__ __forceinline__ explicit Lane(int lane)
      : down_row(lane % 16), down_chunk(lane / 16), across_row(lane % 8 + lane / 16 * 8), across_chunk(lane / 8 % 2) {}
};

// d += a * b
__device__ __forceinline__ void multiply(__nv_bfloat16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply(__half, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Narrow A fragment of two neighbouring C fragments.
template <class T>
__device__ __forceinline__ void pack(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = Element<T>::narrow2(left[0], left[1]);
  a[1] = Element<T>::narrow2(left[2], left[3]);
  a[2] = Element<T>::narrow2(right[0], right[1]);
  a[3] = Element<T>::narrow2(right[2], right[3]);
}

}  // namespace esp::vit::fused
