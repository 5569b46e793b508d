#include "report/statistics.hpp"

#include <gtest/gtest.h>

#include "report/number_text.hpp"

namespace esp {
namespace {

TEST(Quantile, InterpolatesBetweenTheTwoNearestValues) {
  const std::vector<double> values = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(values, 0.95), 3.85);  // numpy.percentile([1, 2, 3, 4], 95)
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
}

TEST(Quantile, OfOneValueIsThatValue) { EXPECT_DOUBLE_EQ(quantile({7}, 0.95), 7); }

TEST(StepTimes, LeaveOutAQuarterOfTheStepsButAtMostThreeAsWarmUp) {
  EXPECT_EQ(summarise_steps({9, 9, 9})->warmup, 0u);
  EXPECT_EQ(summarise_steps(std::vector<double>(4, 1))->warmup, 1u);
  EXPECT_EQ(summarise_steps(std::vector<double>(11, 1))->warmup, 2u);
  EXPECT_EQ(summarise_steps(std::vector<double>(1000, 1))->warmup, 3u);
  EXPECT_FALSE(summarise_steps({}).has_value());
}

TEST(StepTimes, AreNotTouchedByWarmUp) {
  std::vector<double> times(13, 10);
  times[0] = times[1] = times[2] = 5000;
  const auto summary = summarise_steps(times);
  EXPECT_EQ(summary->counted, 10u);
  EXPECT_DOUBLE_EQ(summary->median, 10);
  EXPECT_DOUBLE_EQ(summary->p95, 10);
}

TEST(NumberText, ReadsAsPeopleWriteIt) {
  EXPECT_EQ(fixed(0.69314, 4), "0.6931");
  EXPECT_EQ(scientific(5e-5), "5.00e-05");
  EXPECT_EQ(rounded_bytes_text(12), "12 B");
  EXPECT_EQ(rounded_bytes_text(1024), "1.0 KiB");
  EXPECT_EQ(rounded_bytes_text(1048575), "1.0 MiB");
  EXPECT_EQ(rounded_bytes_text(5767168), "5.5 MiB");
  EXPECT_EQ(clock_text(7.4), "0:07");
  EXPECT_EQ(clock_text(3723), "1:02:03");
  EXPECT_EQ(share_text(98, 133), "98/133 (73.7 %)");
  EXPECT_EQ(share_text(0, 0), "0/0");
}

}  // namespace
}  // namespace esp
