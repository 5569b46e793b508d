#include "runtime/train/learning_rate.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace esp::runtime {
namespace {

TEST(LearningRate, FirstWarmupStepHasRateZeroAndTheLastIsShortOfFull) {
  EXPECT_EQ(rate_factor(Schedule::kCosine, 0, 4, 12), 0.0);
  EXPECT_EQ(rate_factor(Schedule::kLinear, 3, 4, 12), 0.75);
  EXPECT_EQ(rate_factor(Schedule::kConstant, 4, 4, 12), 1.0);
}

TEST(LearningRate, LinearFallsToZeroOnlyBeyondTheLastStep) {
  EXPECT_EQ(rate_factor(Schedule::kLinear, 0, 0, 10), 1.0);
  EXPECT_DOUBLE_EQ(rate_factor(Schedule::kLinear, 9, 0, 10), 0.1);
  EXPECT_EQ(rate_factor(Schedule::kLinear, 10, 0, 10), 0.0);
}

TEST(LearningRate, CosineIsHalfAPeriod) {
  EXPECT_EQ(rate_factor(Schedule::kCosine, 2, 2, 12), 1.0);
  EXPECT_DOUBLE_EQ(rate_factor(Schedule::kCosine, 7, 2, 12), 0.5 * (1 + std::cos(std::numbers::pi * 0.5)));
  EXPECT_NEAR(rate_factor(Schedule::kCosine, 12, 2, 12), 0.0, 1e-15);
}

TEST(LearningRate, WarmupRatioIsRoundedUp) {
  RunConfig::Optimizer optimizer;
  EXPECT_EQ(warmup_steps(optimizer, 48), 0);
  optimizer.warmup_ratio = 0.3;
  EXPECT_EQ(warmup_steps(optimizer, 48), 15);
  optimizer.warmup_ratio.reset();
  optimizer.warmup_steps = 7;
  EXPECT_EQ(warmup_steps(optimizer, 48), 7);
}

TEST(LearningRate, SurvivesWarmupAsLongAsTheRun) {
  EXPECT_EQ(rate_factor(Schedule::kLinear, 3, 4, 4), 0.75);
  EXPECT_EQ(rate_factor(Schedule::kLinear, 4, 4, 4), 0.0);
}

}  // namespace
}  // namespace esp::runtime
