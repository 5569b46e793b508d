// A strategy that adapts: when the host calls it, with what, and that a placement found that way changes no number.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "matrix.hpp"

namespace esp::test {
namespace {

const nlohmann::json kAdapting = {{"run.plugin", ESPALIER_ADAPTING}, {"run.strategy", "adapting"}};
constexpr uint64_t kMiB = uint64_t{1} << 20;

nlohmann::json with(nlohmann::json settings, const nlohmann::json& more) {
  settings.update(more);
  return settings;
}

HostRun run_adapting(const Scratch& scratch, int nproc, int steps, const nlohmann::json& more) {
  const nlohmann::json training = {
      {"train.max_steps", steps}, {"train.batch_size", 1}, {"train.accumulation_steps", 2}, {"train.eval_every", 0.2}};
  return train(scratch / "run", "small", training, nproc, with(kAdapting, more));
}

// What each call of adapt told, one line a rank.
struct Told {
  uint64_t steps, positions, capacity, least, most;
  bool operator==(const Told& other) const {
    return steps == other.steps && positions == other.positions && capacity == other.capacity && least == other.least &&
           most == other.most;
  }
};
std::vector<Told> told(const HostRun& run) {
  const std::regex line(R"(adapt after (\d+) steps: (\d+) positions, capacity (\d+), others (\d+) to (\d+))");
  std::vector<Told> all;
  for (std::sregex_iterator it(run.outcome.err.begin(), run.outcome.err.end(), line), end; it != end; ++it) {
    const auto number = [&](size_t i) { return std::stoull((*it)[i].str()); };
    all.push_back({number(1), number(2), number(3), number(4), number(5)});
  }
  return all;
}

class WarmUp : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Steps, WarmUp, ::testing::Values(0, 1, 3));

TEST_P(WarmUp, IsFollowedByAdaptOnceWithTheSameNumbersOnEveryRank) {
  const Scratch scratch;
  const HostRun run = run_adapting(scratch, 3, 5, {{"strategy.warmup", GetParam()}, {"run.device_budget", 16 * kMiB}});
  ASSERT_EQ(run.outcome.exit_code, 0) << run.outcome.describe();
  const std::vector<Told> calls = told(run);
  ASSERT_EQ(calls.size(), 3u) << run.outcome.describe();
  const Told& first = calls.front();
  for (const Told& call : calls) EXPECT_EQ(call, first) << run.outcome.describe();
  EXPECT_EQ(first.steps, static_cast<uint64_t>(std::max(1, GetParam())));
  EXPECT_EQ(first.positions, 2u * 2 * 5) << "two micro-batches, forward and backward, five units";
  EXPECT_EQ(first.capacity, 16 * kMiB - first.most);
  EXPECT_LT(first.least, first.most) << "what forward keeps grows";
}

TEST(Adapt, DoesNotComeWhereNoStepFollowsOrNobodyAsks) {
  const Scratch scratch;
  EXPECT_TRUE(told(run_adapting(scratch, 1, 2, {{"strategy.warmup", 2}})).empty());
  const Scratch other;
  EXPECT_TRUE(told(run_adapting(other, 1, 4, {{"strategy.declares", false}})).empty());
}

TEST(Adapt, IsRefusedToAComponentThatDoesNotDeclareIt) {
  const Scratch scratch;
  const HostRun run = run_adapting(scratch, 1, 2, {{"run.strategy", "undeclared"}});
  EXPECT_EQ(run.outcome.exit_code, 3) << run.outcome.describe();
  EXPECT_NE(run.outcome.err.find("libadapting.so:undeclared: plan says that it adapts"), std::string::npos);
}

TEST(Adapt, KnowsNoLimitWithoutABudget) {
  const Scratch scratch;
  const std::vector<Told> calls = told(run_adapting(scratch, 2, 2, nlohmann::json::object()));
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].capacity, UINT64_MAX);
}

TEST(Adapt, IsPartOfThePrediction) {
  const Scratch scratch;
  const HostRun run = run_adapting(scratch, 2, 2, nlohmann::json::object());
  ASSERT_EQ(run.outcome.exit_code, 0) << run.outcome.describe();
  EXPECT_GE(run.folder.results.at("memory_bytes").at("workspace"), 3 * kMiB);
  EXPECT_GE(run.folder.results.at("memory_bytes_predicted").at("workspace"), 3 * kMiB);
}

const nlohmann::json kStatic = {{"run.plugin", "libgemini.so"}};
const nlohmann::json kAuto = {{"run.plugin", "libgemini.so"}, {"strategy.placement", "auto"}};
const nlohmann::json kBudgets[] = {{{"run.device_budget", kMiB}},
                                   {{"run.device_budget", kMiB * 3 / 2}},
                                   {{"run.device_budget", 8 * kMiB}},
                                   {{"run.device_budget", 8 * kMiB}, {"strategy.device_budget_fraction", 0.1}},
                                   {{"run.device_budget", 2 * kMiB}, {"strategy.prefetch", false}}};

uint64_t optimizer_on_device(const HostRun& run) {
  return run.folder.results.at("memory_bytes_device").at("optimizer");
}

class Placement : public Matrix {
 protected:
  Placement() : Matrix(5) {}
};
std::vector<Cell> cells() {
  return {{"fp32", 1, 1, false}, {"fp32", 1, 3, true},  {"fp32", 2, 1, false}, {"fp32", 2, 2, true},
          {"fp32", 3, 1, true},  {"fp32", 3, 2, false}, {"bf16", 2, 2, false}};
}
INSTANTIATE_TEST_SUITE_P(Of, Placement, ::testing::ValuesIn(cells()), name_of);

TEST_P(Placement, ThatAdaptsEqualsAStaticOneBitForBitAtEveryBudget) {
  const Cell& cell = GetParam();
  const auto run_gemini = [&](const std::string& name, const nlohmann::json& settings) {
    return run(name, cell.world, cell.accumulation, settings, cell.precision);
  };
  const HostRun expected = run_gemini("static", kStatic);
  if (cell.precision == "fp32" && has_the_order_of_one_process(cell)) {
    expect_equal_bits(oracle(cell.precision), expected);
  }
  std::vector<uint64_t> optimizers;
  for (const nlohmann::json& budget : kBudgets) {
    SCOPED_TRACE(budget.dump());
    const HostRun actual = run_gemini("auto " + std::to_string(optimizers.size()), with(kAuto, budget));
    ASSERT_EQ(actual.outcome.exit_code, 0);
    expect_equal_bits(expected, actual);
    optimizers.push_back(optimizer_on_device(actual));
  }
  EXPECT_LT(optimizers[0], optimizers[2]) << "a larger budget holds more";
  EXPECT_EQ(optimizers[2], optimizer_on_device(expected)) << "and in the end all";
}

TEST(Evaluation, SeesTheSameWeightsAroundAdapt) {
  const Scratch scratch;
  const nlohmann::json training = {
      {"train.max_steps", 4}, {"train.batch_size", 2}, {"train.accumulation_steps", 1}, {"train.eval_every", 0.2}};
  const HostRun expected = train(scratch / "static", "small", training, 2, kStatic);
  const HostRun actual = train(scratch / "auto", "small", training, 2, with(kAuto, kBudgets[1]));
  ASSERT_EQ(actual.outcome.exit_code, 0) << actual.outcome.describe();
  ASSERT_GE(actual.folder.evaluations.size(), 4u);
  ASSERT_EQ(expected.folder.lines.size(), actual.folder.lines.size());
  for (size_t i = 0; i < expected.folder.lines.size(); ++i) {
    for (const char* key : {"loss", "eval_loss"}) {
      EXPECT_EQ(raw_value(expected.folder.lines[i], key), raw_value(actual.folder.lines[i], key)) << "line " << i + 1;
    }
  }
}

}  // namespace
}  // namespace esp::test
