// bf16 and fp16 against the fp32 golden: no worse than twice PyTorch's own error in that precision.
#include <gtest/gtest.h>

#include <cmath>

#include "golden_case.hpp"

namespace esp::test {
namespace {

struct Errors {
  double loss = 0, grad_norm = 0;  // root of the mean square of relative errors over the run
};

template <class Steps, class Loss, class Norm>
Errors errors_against_fp32(const Steps& steps, Loss loss, Norm norm) {
  const std::vector<GoldenStep>& oracle = golden_case("calm").steps;
  Errors sum;
  for (size_t k = 0; k < oracle.size(); ++k) {
    sum.loss += std::pow(relative_gap(loss(steps.at(k)), oracle[k].loss), 2);
    sum.grad_norm += std::pow(relative_gap(norm(steps.at(k)), oracle[k].grad_norm), 2);
  }
  const double n = static_cast<double>(oracle.size());
  return {std::sqrt(sum.loss / n), std::sqrt(sum.grad_norm / n)};
}

class HalfPrecision : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

// A run in half precision may not equal PyTorch's: rounding happens in other places (fused or not, which sums are kept
// in fp32). But a sound one has an error of the same size. Twice is the project's promise for every half-precision
// path; the root mean square over the run is compared, since single steps vary by chance. The golden in half precision
// is PyTorch's with fp32 masters, the same data and schedule, fp16 at the scale the host begins with.
TEST_P(HalfPrecision, IsAtMostTwiceAsFarFromFp32AsPyTorch) {
  const auto [precision, nproc] = GetParam();
  const nlohmann::json& half = goldens().at("half").at(precision);
  const Errors theirs = errors_against_fp32(
      read_steps(half.at("steps")), [](const GoldenStep& s) { return s.loss; },
      [](const GoldenStep& s) { return s.grad_norm; });

  const Scratch scratch;
  const HostRun run = train(scratch / "run", "calm", half.at("settings"), nproc, {{"train.precision", precision}});
  ASSERT_EQ(run.outcome.exit_code, 0) << run.outcome.describe();
  ASSERT_EQ(run.folder.steps.size(), golden_case("calm").steps.size());
  const Errors mine = errors_against_fp32(
      run.folder.steps, [](const nlohmann::json& s) { return s.at("loss").get<double>(); },
      [](const nlohmann::json& s) { return s.at("grad_norm").get<double>(); });
  EXPECT_LT(mine.loss, 2 * theirs.loss);
  EXPECT_LT(mine.grad_norm, 2 * theirs.grad_norm);
  // And it is half precision that ran: fp32 would be a hundred times closer.
  EXPECT_GT(mine.loss, 0.02 * theirs.loss);
}

INSTANTIATE_TEST_SUITE_P(Precision, HalfPrecision,
                         ::testing::Combine(::testing::Values("bf16", "fp16"), ::testing::Values(1, 2)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_on_" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace esp::test
