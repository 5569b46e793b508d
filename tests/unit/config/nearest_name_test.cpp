#include <gtest/gtest.h>

#include "config/resolve.hpp"

namespace esp {
namespace {

const std::vector<std::string> kNames{"batch_size", "epochs", "lr", "eps", "max_steps"};

TEST(NearestName, FindsSlipsOfTheKeyboard) {
  EXPECT_EQ(nearest_name("batch_sise", kNames), "batch_size");
  EXPECT_EQ(nearest_name("bacth_size", kNames), "batch_size");
  EXPECT_EQ(nearest_name("epoch", kNames), "epochs");
  EXPECT_EQ(nearest_name("maxsteps", kNames), "max_steps");
  EXPECT_EQ(nearest_name("lt", kNames), "lr");
}

TEST(NearestName, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("colour", kNames), "");
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name(std::string(100000, 'e'), kNames), "");
  EXPECT_EQ(nearest_name("lr", {}), "");
}

TEST(NearestName, PrefersTheNearerOfTwo) {
  const std::vector<std::string> names{"steps", "step_ms"};
  EXPECT_EQ(nearest_name("step", names), "steps");
}

}  // namespace
}  // namespace esp
