#include "verify/element.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace esp::verify {
namespace {

TEST(VerifyElement, EveryHalfSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto before = static_cast<uint16_t>(bits);
    const double value = load(&before, 0, ESP_F16);
    if (std::isnan(value)) continue;
    uint16_t after = 0;
    store(&after, 0, ESP_F16, value);
    ASSERT_EQ(before, after);
  }
}

TEST(VerifyElement, HalvesRoundToNearestEven) {
  EXPECT_EQ(1.0, rounded(1 + 0x1p-11, ESP_F16));
  EXPECT_EQ(1 + 0x1p-9, rounded(1 + 3 * 0x1p-11, ESP_F16));
  EXPECT_EQ(65504, rounded(65519, ESP_F16));
  EXPECT_TRUE(std::isinf(rounded(65520, ESP_F16)));
  EXPECT_EQ(1.0, rounded(1 + 0x1p-8, ESP_BF16));
  EXPECT_EQ(1 + 0x1p-6, rounded(1 + 3 * 0x1p-8, ESP_BF16));
}

}  // namespace
}  // namespace esp::verify
