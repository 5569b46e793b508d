#include "bench/compare.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "error.hpp"
#include "sample_rows.hpp"

namespace esp::bench {
namespace {

using test::refused_row;
using test::result_of;
using test::row_of;

Verdict verdict(const Row& first, const Row& second) {
  return compare(result_of({first}), result_of({second})).front().verdict;
}

TEST(Compare, FindsASlowDownThatNoiseDoesNotExplain) {
  EXPECT_EQ(verdict(row_of("a", 10, 1, 3), row_of("a", 10.5, 1, 3)), Verdict::kSlower);
  EXPECT_EQ(verdict(row_of("a", 10.5, 1, 3), row_of("a", 10, 1, 3)), Verdict::kFaster);
}

TEST(Compare, CallsTheSameNumbersEqual) {
  EXPECT_EQ(verdict(row_of("a", 10, 1, 3), row_of("a", 10, 1, 3)), Verdict::kEqual);
}

TEST(Compare, WantsMoreOfOneRunThanOfSeveral) {
  EXPECT_EQ(verdict(row_of("a", 10, 1, 1), row_of("a", 10.3, 1, 1)), Verdict::kEqual);
  EXPECT_EQ(verdict(row_of("a", 10, 1, 3), row_of("a", 10.3, 1, 3)), Verdict::kSlower);
  EXPECT_EQ(verdict(row_of("a", 10, 1, 1), row_of("a", 12, 1, 1)), Verdict::kSlower);
}

TEST(Compare, DoesNotCompareSpeedsOfDifferentWork) {
  Row other = row_of("a", 5, 1);
  for (RunMeasure& run : other.runs) run.train_loss = 2;
  EXPECT_EQ(verdict(row_of("a", 10, 1), other), Verdict::kOtherWork);
}

TEST(Compare, CountsAVanishedRowAsWorse) {
  const auto rows = compare(result_of({row_of("a", 10, 1)}), result_of({refused_row("a", "gone")}));
  EXPECT_EQ(rows.front().verdict, Verdict::kLost);
  EXPECT_EQ(exit_code_of(rows), 1);
  EXPECT_EQ(exit_code_of({}), 0);
}

TEST(Compare, RefusesResultsWithNothingInCommon) {
  EXPECT_THROW(compare(result_of({row_of("a", 10, 1)}), result_of({row_of("b", 10, 1)})), Error);
  SweepResult seed = result_of({row_of("a", 10, 1)});
  seed.protocol = "seed";
  EXPECT_THROW(compare(result_of({row_of("a", 10, 1)}), seed), Error);
}

TEST(Compare, PutsExposedCommunicationAndJoulesSideBySide) {
  Row before = row_of("a", 10, 1, 1), after = before;
  std::ostringstream without;
  print_comparison(without, compare(result_of({before}), result_of({after})));
  EXPECT_EQ(without.str().find("exposed"), std::string::npos);
  before.runs[0].exposed_ms = 3;
  before.runs[0].joules_per_sample = after.runs[0].joules_per_sample = 0.125;
  after.runs[0].exposed_ms = 0.5;
  std::ostringstream out;
  print_comparison(out, compare(result_of({before}), result_of({after})));
  EXPECT_NE(out.str().find("3.00 -> 0.50"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("0.125 -> 0.125"), std::string::npos) << out.str();
}

TEST(Compare, PrintsOneLineARow) {
  std::ostringstream out;
  print_comparison(out, compare(result_of({row_of("a", 10, 1), row_of("b", 10, 1)}),
                                result_of({row_of("b", 20, 1), row_of("a", 10, 1)})));
  const std::string text = out.str();
  EXPECT_LT(text.find("equal within noise"), text.find("slower"));
}

}  // namespace
}  // namespace esp::bench
