// The parity tests can fail: a strategy with a mistake in its arithmetic does not pass as PyTorch's equal.
#include <gtest/gtest.h>

#include "golden_case.hpp"

namespace esp::test {
namespace {

constexpr double kTolerance = 2e-5;  // of the parity tests

HostRun train_with_mistake(const Scratch& scratch, const std::string& mistake) {
  const GoldenCase& golden = golden_case("plain");
  return train(scratch / "run", golden.checkpoint, golden.settings, 2,
               {{"run.plugin", std::string(ESPALIER_FAULTY_PLUGIN) + ":faulty"}, {"strategy.mistake", mistake}});
}

double largest_gap(const HostRun& run) {
  const std::vector<GoldenStep>& steps = golden_case("plain").steps;
  double gap = 0;
  for (size_t k = 0; k < steps.size(); ++k) {
    gap = std::max(gap, relative_gap(run.folder.steps.at(k).at("loss"), steps[k].loss));
    gap = std::max(gap, relative_gap(run.folder.steps.at(k).at("grad_norm"), steps[k].grad_norm));
  }
  return gap;
}

class PlantedMistake : public ::testing::TestWithParam<const char*> {};

TEST_P(PlantedMistake, IsNoticed) {
  const Scratch scratch;
  const HostRun run = train_with_mistake(scratch, GetParam());
  // The host may refuse it, or the numbers show it.
  if (run.outcome.exit_code == 0) {
    EXPECT_GT(largest_gap(run), kTolerance);
  } else {
    EXPECT_EQ(run.outcome.exit_code, 3) << run.outcome.describe();
  }
}

INSTANTIATE_TEST_SUITE_P(Of, PlantedMistake, ::testing::Values("sum", "skip_unit", "skip_rank", "stale", "no_norm"),
                         [](const auto& info) { return std::string(info.param); });

TEST(PlantedMistakes, WithoutOneTheStrategyEqualsPyTorch) {
  const Scratch scratch;
  const HostRun run = train_with_mistake(scratch, "none");
  ASSERT_EQ(run.outcome.exit_code, 0) << run.outcome.describe();
  EXPECT_LT(largest_gap(run), kTolerance);
}

}  // namespace
}  // namespace esp::test
