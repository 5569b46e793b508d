#include "verify/arena.hpp"

#include <espalier/host.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace esp::verify {
namespace {

TEST(VerifyArena, MemoryIsZeroAndFoundByAnyOfItsParts) {
  Arena arena;
  auto* data = static_cast<char*>(arena.allocate(ESP_DEVICE, 1000, ESP_TAG_PARAM, 0));
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(0, data[i]);
  EXPECT_NE(nullptr, arena.find(data + 10, 990));
  EXPECT_EQ(nullptr, arena.find(data + 10, 991));
  EXPECT_EQ(nullptr, arena.find(data - 1, 1));
}

TEST(VerifyArena, FreedMemoryIsNaNAndWritesToItShow) {
  Arena arena;
  auto* data = static_cast<float*>(arena.allocate(ESP_DEVICE, 64, ESP_TAG_PARAM, 0));
  EXPECT_TRUE(arena.release(data));
  EXPECT_FALSE(arena.release(data));
  EXPECT_TRUE(std::isnan(data[3]));
  EXPECT_TRUE(arena.damages().empty());
  data[3] = 1;
  EXPECT_EQ(1u, arena.damages().size());
}

TEST(VerifyArena, WritesBesideAnAllocationShow) {
  Arena arena;
  auto* data = static_cast<char*>(arena.allocate(ESP_PINNED, 10, ESP_TAG_PARAM, 0));
  data[10] = 1;
  ASSERT_EQ(1u, arena.damages().size());
  data[-1] = 1;
  EXPECT_EQ(2u, arena.damages().size());
}

TEST(VerifyArenaDeathTest, TheDryRunsMemoryCannotBeTouched) {
  Arena arena(/*reserve_only=*/true);
  auto* data = static_cast<volatile char*>(arena.allocate(ESP_DEVICE, 10, ESP_TAG_PARAM, 0));
  EXPECT_TRUE(is_reserved(const_cast<char*>(data)));
  EXPECT_DEATH(data[0] = 1, "");
}

}  // namespace
}  // namespace esp::verify
