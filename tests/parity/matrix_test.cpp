// Every strategy and stage at every world size, accumulation, clipping and precision, against one oracle: the replica
// in one process that accumulates what the ranks compute.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "golden_case.hpp"

namespace esp::test {
namespace {

constexpr size_t kSteps = 3;
constexpr double kRounding = 2e-5;  // fp32 sums in another order, through three steps of AdamW

// In which order gradients are added; strategies of one kind agree bit for bit on up to two ranks.
enum class Order { kMicrosThenRanks, kRanksThenMicros };

struct Strategy {
  const char* name;
  Order order;
  nlohmann::json settings;
};

const std::vector<Strategy>& strategies() {
  static const std::string zero = "libzero.so", gemini = "libgemini.so";
  const auto with = [](const std::string& plugin, nlohmann::json more) {
    more["run.plugin"] = plugin;
    return more;
  };
  static const std::vector<Strategy> list = {
      {"ddp", Order::kMicrosThenRanks, with("libddp.so", nlohmann::json::object())},
      {"ddp_fp16", Order::kMicrosThenRanks, with("libddp_fp16.so", nlohmann::json::object())},
      {"zero1", Order::kMicrosThenRanks, with(zero, {{"strategy.stage", 1}})},
      {"zero1_offload", Order::kMicrosThenRanks,
       with(zero, {{"strategy.stage", 1}, {"strategy.offload", "optimizer"}})},
      {"zero2", Order::kRanksThenMicros, with(zero, {{"strategy.stage", 2}})},
      {"zero3", Order::kRanksThenMicros, with(zero, {{"strategy.stage", 3}})},
      {"zero3_offload", Order::kRanksThenMicros,
       with(zero, {{"strategy.stage", 3}, {"strategy.offload", "optimizer"}})},
      {"gemini_static", Order::kRanksThenMicros,
       with(gemini, {{"strategy.parameter_offload", 0.5}, {"strategy.optimizer_offload", 0.5}})},
      {"gemini_auto", Order::kRanksThenMicros,
       with(gemini, {{"strategy.placement", "auto"}, {"strategy.device_budget_fraction", 0.75}})},
      {"gemini_offloaded", Order::kRanksThenMicros,
       with(gemini, {{"strategy.parameter_offload", 1.0}, {"strategy.optimizer_offload", 1.0}})}};
  return list;
}

struct Cell {
  std::string precision;
  int world;
  int accumulation;
  bool clip;
};

std::string name_of(const ::testing::TestParamInfo<Cell>& info) {
  const Cell& cell = info.param;
  return cell.precision + "_World" + std::to_string(cell.world) + "_Accumulation" + std::to_string(cell.accumulation) +
         (cell.clip ? "_Clipped" : "");
}

std::vector<Cell> cells(const std::vector<std::string>& precisions, const std::vector<int>& worlds) {
  std::vector<Cell> list;
  for (const std::string& precision : precisions) {
    for (int world : worlds) {
      for (int accumulation : {1, 3}) {
        for (bool clip : {false, true}) list.push_back({precision, world, accumulation, clip});
      }
    }
  }
  return list;
}

class Matrix : public ::testing::TestWithParam<Cell> {
 protected:
  // The global batch is the same for every run of a cell, so each computes the same steps.
  HostRun run(const std::string& name, int nproc, int accumulation, const nlohmann::json& strategy,
              const std::string& precision) const {
    nlohmann::json settings = {{"optimizer.lr", 5e-4},        {"optimizer.weight_decay", 0.05},
                               {"train.max_steps", kSteps},   {"train.epochs", 1000},
                               {"train.batch_size", 1},       {"train.eval_every", 0},
                               {"data.shuffle", true},        {"train.accumulation_steps", accumulation},
                               {"train.precision", precision}};
    if (GetParam().clip) settings["train.clip_norm"] = 0.5;
    HostRun result = train(scratch_ / name, "small", settings, nproc, strategy);
    EXPECT_EQ(result.outcome.exit_code, 0) << name << ": " << result.outcome.describe();
    return result;
  }
  HostRun oracle(const std::string& precision) const {
    return run("oracle " + precision, 1, GetParam().world * GetParam().accumulation, strategies().front().settings,
               precision);
  }

 private:
  const Scratch scratch_;
};

bool is_complete(const HostRun& run) { return run.outcome.exit_code == 0 && run.folder.steps.size() == kSteps; }

void expect_equal_bits(const HostRun& expected, const HostRun& actual) {
  ASSERT_TRUE(is_complete(expected) && is_complete(actual));
  for (size_t k = 0; k < kSteps; ++k) {
    EXPECT_EQ(raw_value(expected.folder.lines[k], "loss"), raw_value(actual.folder.lines[k], "loss")) << k + 1;
  }
  const std::string weights = read_file(expected.folder.path / "model/model.safetensors");
  ASSERT_FALSE(weights.empty());
  EXPECT_TRUE(weights == read_file(actual.folder.path / "model/model.safetensors")) << "trained weights differ";
}

void expect_close(const HostRun& expected, const HostRun& actual, double tolerance) {
  ASSERT_TRUE(is_complete(expected) && is_complete(actual));
  for (size_t k = 0; k < kSteps; ++k) {
    for (const char* key : {"loss", "grad_norm"}) {
      const nlohmann::json &want = expected.folder.steps[k].at(key), &is = actual.folder.steps[k].at(key);
      ASSERT_EQ(want.is_number(), is.is_number()) << key << " of step " << k + 1;  // fp16: none where it overflowed
      if (want.is_number()) {
        EXPECT_LT(relative_gap(is, want), tolerance) << key << " of step " << k + 1;
      }
    }
  }
}

class Fp32 : public Matrix {};

// Bit for bit with one process where it adds in the same order: alone, or one micro-batch a rank on two ranks, since
// a + b = b + a and halving is exact. Bit for bit with the others that add in the strategy's own order on two ranks
// with accumulation. On more ranks the mean is no power of two and sums have no common order: then to rounding.
TEST_P(Fp32, EqualsTheOracle) {
  const Cell& cell = GetParam();
  const HostRun oracle = this->oracle("fp32");
  const bool same_order = cell.world == 1 || (cell.world == 2 && cell.accumulation == 1);
  std::map<Order, HostRun> first_of;
  for (const Strategy& strategy : strategies()) {
    SCOPED_TRACE(strategy.name);
    const HostRun run = this->run(strategy.name, cell.world, cell.accumulation, strategy.settings, "fp32");
    expect_close(oracle, run, kRounding);
    if (same_order) expect_equal_bits(oracle, run);
    const HostRun& peer = first_of.try_emplace(strategy.order, run).first->second;
    if (cell.world <= 2) expect_equal_bits(peer, run);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Fp32, ::testing::ValuesIn(cells({"fp32"}, {1, 2, 3})), name_of);
INSTANTIATE_TEST_SUITE_P(Wide, Fp32, ::testing::ValuesIn(cells({"fp32"}, {4, 5})), name_of);

}  // namespace
}  // namespace esp::test
