// Strategies in half precision: no further from fp32 than twice what one process is in the same precision.
#include <cmath>
#include <cstring>
#include <map>

#include "matrix.hpp"

namespace esp::test {
namespace {

// Trained weights without the file's header: fp32, in the order of names.
std::vector<float> weights_of(const HostRun& run) {
  const std::string file = read_file(run.folder.path / "model/model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  const nlohmann::json tensors = nlohmann::json::parse(file.substr(sizeof header, header));
  for (const auto& [name, entry] : tensors.items()) {
    if (name != "__metadata__" && entry.at("dtype") != "F32") ADD_FAILURE() << name << " is not in fp32";
  }
  std::vector<float> values((file.size() - sizeof header - header) / sizeof(float));
  std::memcpy(values.data(), file.data() + sizeof header + header, values.size() * sizeof(float));
  return values;
}

struct Errors {
  double loss = 0, grad_norm = 0;  // root of the mean square of relative errors over the run
  double weights = 0;              // distance of what was trained
};

Errors errors_of(const HostRun& run, const HostRun& exact) {
  Errors out;
  const double n = static_cast<double>(exact.folder.steps.size());
  for (size_t k = 0; k < exact.folder.steps.size(); ++k) {
    const nlohmann::json &is = run.folder.steps.at(k), &want = exact.folder.steps[k];
    out.loss += std::pow(relative_gap(is.at("loss"), want.at("loss")), 2) / n;
    out.grad_norm += std::pow(relative_gap(is.at("grad_norm"), want.at("grad_norm")), 2) / n;
  }
  const std::vector<float> is = weights_of(run), want = weights_of(exact);
  EXPECT_EQ(is.size(), want.size());
  for (size_t i = 0; i < std::min(is.size(), want.size()); ++i) out.weights += std::pow(is[i] - want[i], 2);
  return {std::sqrt(out.loss), std::sqrt(out.grad_norm), std::sqrt(out.weights)};
}

class Half : public Matrix {
 protected:
  using Matrix::Matrix;

  // replica: what one process runs. unit: the precision's rounding; an error of a few of them in a number that is one
  // sum over the batch is chance, and so is how small it is in the one process.
  //
  // Bit for bit with that process where each rank has one micro-batch, and with those that add in the same order on two
  // ranks: a mean of two is rounded alike wherever it is taken. Alone with several micro-batches strategies differ in
  // which sums they keep in fp32.
  void expect_no_more_than_twice_the_error(const Strategy& replica, const std::vector<Strategy>& list, double unit) {
    const Cell& cell = GetParam();
    const HostRun exact = oracle("fp32"), alone = oracle(cell.precision, replica);
    ASSERT_TRUE(is_complete(exact) && is_complete(alone));
    const Errors allowed = errors_of(alone, exact);
    ASSERT_GT(allowed.weights, 0) << "the oracle has run in fp32";
    std::map<Order, HostRun> first_of;
    for (const Strategy& one : list) {
      SCOPED_TRACE(one.name);
      const HostRun actual = run(one);
      ASSERT_TRUE(is_complete(actual));
      const Errors seen = errors_of(actual, exact);
      EXPECT_LE(seen.loss, 2 * std::max(allowed.loss, unit));
      EXPECT_LE(seen.grad_norm, 2 * std::max(allowed.grad_norm, unit));
      EXPECT_LE(seen.weights, 2 * allowed.weights);
      EXPECT_GT(seen.weights, 0.1 * allowed.weights) << "this was not half precision";
      if (cell.world <= 2 && cell.accumulation == 1) expect_equal_bits(alone, actual);
      if (cell.world == 2) expect_equal_bits(first_of.try_emplace(one.order, actual).first->second, actual);
    }
  }
};

class Bf16 : public Half {};

TEST_P(Bf16, IsAtMostTwiceAsFarFromFp32AsOneProcess) {
  expect_no_more_than_twice_the_error(
      strategy("ddp"),
      {strategy("ddp"), strategy("zero1"), strategy("zero2"), strategy("zero3"), strategy("gemini_static")},
      std::ldexp(1.0, -8));
}

INSTANTIATE_TEST_SUITE_P(Of, Bf16,
                         ::testing::Values(Cell{"bf16", 1, 1, true}, Cell{"bf16", 1, 3, true}, Cell{"bf16", 2, 1, true},
                                           Cell{"bf16", 2, 3, true}, Cell{"bf16", 3, 1, true},
                                           Cell{"bf16", 3, 3, true}),
                         name_of);

// From a scale at which no step is skipped: fp32 skips none.
class Fp16 : public Half {
 protected:
  Fp16() : Half(2) {}
  static Strategy scaled(const std::string& name) {
    Strategy one = strategy(name);
    one.settings["strategy.initial_scale_power"] = 10;
    return one;
  }
};

TEST_P(Fp16, IsAtMostTwiceAsFarFromFp32AsOneProcess) {
  expect_no_more_than_twice_the_error(scaled("ddp_fp16"),
                                      {scaled("ddp_fp16"), scaled("zero1"), scaled("zero3"), scaled("gemini_static")},
                                      std::ldexp(1.0, -11));
}

INSTANTIATE_TEST_SUITE_P(Of, Fp16,
                         ::testing::Values(Cell{"fp16", 1, 1, true}, Cell{"fp16", 1, 3, true}, Cell{"fp16", 2, 1, true},
                                           Cell{"fp16", 2, 3, true}, Cell{"fp16", 2, 1, false}),
                         name_of);

}  // namespace
}  // namespace esp::test
