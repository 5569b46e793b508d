#include <gtest/gtest.h>

#include "config/run_config.hpp"
#include "test_options.hpp"

namespace esp {
namespace {

BatchPlan plan(int64_t batch, int64_t accumulation, int64_t global, int64_t world) {
  RunConfig::Train train;
  train.batch_size = batch;
  train.accumulation_steps = accumulation;
  train.global_batch_size = global;
  return plan_batch(train, world);
}

void expect_plan(const BatchPlan& plan, int64_t micro, int64_t accumulation, int64_t global) {
  EXPECT_EQ(plan.micro_batch, micro);
  EXPECT_EQ(plan.accumulation, accumulation);
  EXPECT_EQ(plan.global_batch, global);
}

TEST(BatchPlan, TheThirdFollowsFromTwo) {
  expect_plan(plan(8, 2, 0, 2), 8, 2, 32);
  expect_plan(plan(8, 0, 64, 2), 8, 4, 64);
  expect_plan(plan(0, 4, 64, 2), 8, 4, 64);
  expect_plan(plan(8, 4, 64, 2), 8, 4, 64);
}

TEST(BatchPlan, OneGivenMeansNoAccumulation) {
  expect_plan(plan(8, 0, 0, 3), 8, 1, 24);
  expect_plan(plan(0, 0, 64, 2), 32, 1, 64);
}

TEST(BatchPlan, NothingGivenTrainsWithAboutThirtyTwoSamplesOnAnyNumberOfRanks) {
  expect_plan(plan(0, 0, 0, 1), 32, 1, 32);
  expect_plan(plan(0, 0, 0, 2), 16, 1, 32);
  expect_plan(plan(0, 4, 0, 2), 4, 4, 32);
  expect_plan(plan(0, 0, 0, 3), 10, 1, 30);
  expect_plan(plan(0, 0, 0, 64), 1, 1, 64);
}

TEST(BatchPlan, AContradictionIsRefusedWithTheNumbers) {
  EXPECT_EQ(
      testing::usage_error([] { plan(8, 2, 30, 2); }),
      "train.global_batch_size = 30 contradicts train.batch_size = 8 x train.accumulation_steps = 2 x 2 ranks = 32; "
      "leave one of the three out");
}

TEST(BatchPlan, WhatDoesNotDivideIsRefusedWithTheNearestThatDoes) {
  EXPECT_EQ(testing::usage_error([] { plan(0, 0, 33, 2); }),
            "train.global_batch_size = 33 leaves no whole train.batch_size: it is no multiple of "
            "train.accumulation_steps = 1 "
            "x 2 ranks = 2; the nearest that fits is 32 or 34");
  EXPECT_EQ(
      testing::usage_error([] { plan(8, 0, 4, 1); }),
      "train.global_batch_size = 4 leaves no whole train.accumulation_steps: it is no multiple of train.batch_size = 8 "
      "x 1 rank = 8; the nearest that fits is 8");
}

}  // namespace
}  // namespace esp
