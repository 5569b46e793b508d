// Against values of SciPy 1.11 (mannwhitneyu, exact and asymptotic) and arithmetic done by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "bench/rank_test.hpp"
#include "bench/ratio_interval.hpp"
#include "bench/warm_up.hpp"
#include "sample_rows.hpp"

namespace esp::bench {
namespace {

TEST(RankTest, IsExactForSmallSetsWithoutTies) {
  const RankTest test = mann_whitney({19, 22, 16, 29, 24}, {20, 11, 17, 12});
  EXPECT_TRUE(test.exact);
  EXPECT_DOUBLE_EQ(test.u, 17);
  EXPECT_NEAR(test.p, 0.1111111111111111, 1e-12);
}

TEST(RankTest, IsSymmetricInItsTwoSets) {
  const RankTest one = mann_whitney({19, 22, 16, 29, 24}, {20, 11, 17, 12});
  const RankTest other = mann_whitney({20, 11, 17, 12}, {19, 22, 16, 29, 24});
  EXPECT_DOUBLE_EQ(one.u + other.u, 20);
  EXPECT_DOUBLE_EQ(one.p, other.p);
}

TEST(RankTest, OfSeparateSetsHasTheProbabilityOfTheTwoExtremeOrders) {
  const RankTest test = mann_whitney({1, 2, 3, 4, 5}, {6, 7, 8, 9, 10});
  EXPECT_DOUBLE_EQ(test.u, 0);
  EXPECT_NEAR(test.p, 2.0 / 252, 1e-12);  // 10 over 5 orders
}

TEST(RankTest, ApproximatesWithTiesAndCorrectsForThem) {
  // Ranks of a: 1, 3, 3, 5.5; sum 12.5, U = 2.5. Ties of 3 and 2: 24 + 6. Variance 4 * 4 / 12 * (9 - 30 / 56).
  const RankTest test = mann_whitney({1, 2, 2, 3}, {2, 3, 4, 5});
  EXPECT_FALSE(test.exact);
  EXPECT_DOUBLE_EQ(test.u, 2.5);
  const double z = (8 - 2.5 - 0.5) / std::sqrt(16.0 / 12 * (9 - 30.0 / 56));
  EXPECT_NEAR(test.p, std::erfc(z / std::sqrt(2)), 1e-12);
}

TEST(RankTest, OfEqualNumbersSaysNothing) { EXPECT_DOUBLE_EQ(mann_whitney({2, 2, 2}, {2, 2}).p, 1); }

TEST(RankTest, ApproximationMeetsTheExactValueForManyNumbers) {
  std::vector<double> a, b;
  for (int i = 0; i < 20; ++i) {
    a.push_back(i);
    b.push_back(i + 4.5);
  }
  const RankTest exact = mann_whitney(a, b);
  b.push_back(14.25);  // a set of 21: the approximation
  const RankTest approximate = mann_whitney(a, b);
  EXPECT_TRUE(exact.exact);
  EXPECT_FALSE(approximate.exact);
  EXPECT_NEAR(exact.p, approximate.p, 0.01);
}

TEST(RatioInterval, HoldsTheRatioAndIsTheSameEveryTime) {
  const Runs a{test::run_of(1, 10).step_ms, test::run_of(2, 10.1).step_ms};
  const Runs b{test::run_of(1, 20).step_ms, test::run_of(2, 20.2).step_ms};
  const Interval interval = ratio_of_medians(a, b);
  EXPECT_NEAR(interval.middle, 2, 0.02);
  EXPECT_LT(interval.low, interval.middle);
  EXPECT_GT(interval.high, interval.middle);
  EXPECT_LT(interval.high - interval.low, 0.2);
  EXPECT_DOUBLE_EQ(interval.low, ratio_of_medians(a, b).low);
}

TEST(RatioInterval, IsAsWideAsRunsDiffer) {
  const Runs calm{test::run_of(1, 10).step_ms, test::run_of(2, 10).step_ms};
  const Runs wild{test::run_of(1, 10).step_ms, test::run_of(2, 15).step_ms};
  EXPECT_GT(ratio_of_medians(calm, wild).high, 1.4);
  EXPECT_LT(ratio_of_medians(calm, calm).high, 1.05);
}

TEST(WarmUp, EndsWhereTwoStepsAreSteady) {
  EXPECT_EQ(detect_warmup({90, 40, 20, 10, 10.1, 9.9, 10, 10.2, 10, 10.1, 9.9, 10}, 6), 3u);
}

TEST(WarmUp, TakesOneLuckyStepForNoSteadyState) {
  EXPECT_EQ(detect_warmup({90, 10, 30, 20, 10.1, 9.9, 10, 10.2, 10, 10.1, 9.9, 10}, 6), 4u);
}

TEST(WarmUp, IsTheFirstStepAtLeastAndTheAllowanceAtMost) {
  EXPECT_EQ(detect_warmup(std::vector<double>(20, 10), 5), 1u);
  EXPECT_EQ(detect_warmup({90, 80, 70, 60, 50, 40, 30, 20, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10}, 5), 5u);
  EXPECT_EQ(detect_warmup({90}, 5), 0u);
  EXPECT_EQ(detect_warmup({90, 10, 10}, 0), 0u);
}

}  // namespace
}  // namespace esp::bench
