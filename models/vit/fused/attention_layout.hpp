// Where an element of an operand lies in shared memory, for wgmma with 128-byte swizzle; in plain C++, so that a test
// checks on any machine that what the kernels describe is what they wrote.
//
// All tiles have rows of 128 bytes (64 halves) and begin at a multiple of 1024 bytes. Chunk c (16 bytes) of row r lies
// at c ^ (r % 8). Such a tile is read
//   along its rows (K-major): a row is an m or n, its columns are k; the next 16 k are 32 bytes on;
//   across its rows (MN-major, "transposed"): a row is a k, its 64 columns are m or n; the next 16 k are 16 rows on.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define ESP_HOST_DEVICE __host__ __device__
#else
#define ESP_HOST_DEVICE
#endif

namespace esp::vit::fused::wgmma {

inline constexpr uint32_t kRow = 128;         // bytes
inline constexpr uint32_t kGroup = 8 * kRow;  // eight rows: after that the swizzle repeats
inline constexpr uint32_t kStepAlong = 32;    // bytes from 16 k to the next
inline constexpr uint32_t kStepAcross = 16 * kRow;

ESP_HOST_DEVICE constexpr uint32_t swizzled(int row, int chunk) {
  return static_cast<uint32_t>(row) * kRow + (static_cast<uint32_t>(chunk ^ (row & 7)) << 4);
}

// A matrix descriptor. Bits 0-13 address / 16, 16-29 leading offset / 16 (from 64 m or n to the next where the operand
// is read across, unused here: there are never more than 64), 32-45 offset / 16 from eight rows to the next, 62-63: 1 =
// 128-byte swizzle.
ESP_HOST_DEVICE constexpr uint64_t descriptor(uint32_t address) {
  return uint64_t{1} << 62 | uint64_t{kGroup >> 4} << 32 | uint64_t{1} << 16 | (address & 0x3ffff) >> 4;
}

}  // namespace esp::vit::fused::wgmma
