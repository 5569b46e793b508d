#include "position_grid.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "scratch.hpp"

namespace esp::vit::test {
namespace {

TEST(PositionGrid, EqualsTorchsBicubicInterpolation) {
  const auto golden = nlohmann::json::parse(read_file(golden_path("golden.json")));
  for (const auto& grid : golden.at("grids")) {
    const int64_t old_side = grid.at("old");
    const int64_t channels = grid.at("channels");
    std::vector<float> values;
    for (int64_t i = 0; i < old_side * old_side * channels; ++i) {
      values.push_back(static_cast<float>(std::sin(static_cast<float>(i) * 0.7f)));
    }
    const std::vector<float> resized = resize_grid(values.data(), old_side, grid.at("new"), channels);
    ASSERT_EQ(resized.size(), grid.at("values").size());
    for (size_t i = 0; i < resized.size(); ++i) {
      EXPECT_NEAR(resized[i], grid.at("values")[i].get<float>(), 2e-6) << old_side << " element " << i;
    }
  }
}

TEST(PositionGrid, KeepsAGridOfTheSameSize) {
  std::vector<float> values;
  for (int i = 0; i < 4 * 4 * 2; ++i) values.push_back(static_cast<float>(i * i));
  EXPECT_EQ(resize_grid(values.data(), 4, 4, 2), values);
}

}  // namespace
}  // namespace esp::vit::test
