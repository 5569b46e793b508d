// What wgmma reads through a descriptor, by the PTX ISA's canonical layouts, against what the kernels write.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "attention_layout.hpp"

namespace esp::vit::fused::wgmma {
namespace {

constexpr int kColumns = 64;

// Shared memory of halves; written by chunks of 16 bytes as kernels write it.
class Memory {
 public:
  explicit Memory(uint32_t bytes) : bytes_(bytes) {}
  void write(uint32_t tile, int row, int column, uint16_t value) {
    std::memcpy(&bytes_.at(tile + swizzled(row, column / 8) + static_cast<uint32_t>(column % 8) * 2), &value, 2);
  }
  // An element as the instruction finds it: canonical offset, then address bits 4-6 exclusive-or bits 7-9.
  uint16_t read(uint64_t descriptor, uint32_t offset) const {
    const auto start = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
    const uint32_t plain = start + offset;
    const uint32_t address = plain ^ (plain >> 3 & 0x70);
    uint16_t value = 0;
    std::memcpy(&value, &bytes_.at(address), 2);
    return value;
  }

 private:
  std::vector<uint8_t> bytes_;
};

uint32_t stride_of(uint64_t descriptor) { return static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4; }

// ((8, m), (T, 2 k)) : ((8 T, SBO), (1, T)), T = 8 halves.
uint32_t along(uint64_t descriptor, int mn, int k) {
  return static_cast<uint32_t>(mn % 8) * 128 + static_cast<uint32_t>(mn / 8) * stride_of(descriptor) +
         static_cast<uint32_t>(k) * 2;
}

// ((T, 8, m), (8, k)) : ((1, T, LBO), (8 T, SBO)) with m = 1.
uint32_t across(uint64_t descriptor, int mn, int k) {
  return static_cast<uint32_t>(mn) * 2 + static_cast<uint32_t>(k % 8) * 128 +
         static_cast<uint32_t>(k / 8) * stride_of(descriptor);
}

uint16_t value_at(int row, int column) { return static_cast<uint16_t>(row * 251 + column * 7 + 1); }

class Layout : public ::testing::TestWithParam<uint32_t> {
 protected:
  Layout() : memory_(256 * 1024) {
    for (int row = 0; row < 208; ++row) {
      for (int column = 0; column < kColumns; ++column) memory_.write(GetParam(), row, column, value_at(row, column));
    }
  }
  Memory memory_;
};

TEST_P(Layout, IsReadAlongItsRowsInFourSteps) {
  for (int first = 0; first < 208; first += 8) {
    for (int step = 0; step < 4; ++step) {
      const uint64_t of =
          descriptor(GetParam() + static_cast<uint32_t>(first) * kRow + static_cast<uint32_t>(step) * kStepAlong);
      for (int row = first; row < 208; ++row) {
        for (int k = 0; k < 16; ++k) {
          ASSERT_EQ(memory_.read(of, along(of, row - first, k)), value_at(row, step * 16 + k)) << row << " " << k;
        }
      }
    }
  }
}

TEST_P(Layout, IsReadAcrossItsRowsSixteenAtATime) {
  for (int step = 0; step < 13; ++step) {
    const uint64_t of = descriptor(GetParam() + static_cast<uint32_t>(step) * kStepAcross);
    for (int column = 0; column < kColumns; ++column) {
      for (int k = 0; k < 16; ++k) {
        ASSERT_EQ(memory_.read(of, across(of, column, k)), value_at(step * 16 + k, column)) << column << " " << k;
      }
    }
  }
}

TEST_P(Layout, DescribesSwizzleAndStride) {
  const uint64_t of = descriptor(GetParam());
  EXPECT_EQ(of >> 62, 1u);
  EXPECT_EQ(stride_of(of), 1024u);
  EXPECT_EQ(of >> 49 & 7, 0u);
  EXPECT_EQ(static_cast<uint32_t>(of & 0x3fff) << 4, GetParam());
}

// Tiles as the kernels place them: at multiples of 1024 bytes, of 200 and 208 rows.
INSTANTIATE_TEST_SUITE_P(Tiles, Layout, ::testing::Values(1024, 25600, 26624, 51200, 204800));

TEST(Layout, EightRowsOfAChunkAreOnDistinctBanks) {
  for (int chunk = 0; chunk < 8; ++chunk) {
    uint32_t seen = 0;
    for (int row = 0; row < 8; ++row) seen |= 1u << (swizzled(row, chunk) / 16 % 8);
    EXPECT_EQ(seen, 0xffu);
  }
}

}  // namespace
}  // namespace esp::vit::fused::wgmma
