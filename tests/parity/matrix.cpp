#include "matrix.hpp"

#include <map>
#include <stdexcept>

namespace esp::test {
namespace {

constexpr double kRounding = 2e-5;  // fp32 sums in another order, through three steps of AdamW

Strategy of(const std::string& library, const std::string& name, Order order, nlohmann::json settings) {
  settings["run.plugin"] = library;
  return {name, order, std::move(settings)};
}

std::vector<Strategy> all_strategies() {
  const std::string zero = "libzero.so", gemini = "libgemini.so";
  const Order micros = Order::kMicrosThenRanks, ranks = Order::kRanksThenMicros;
  const nlohmann::json none = nlohmann::json::object();
  return {
      of("libddp.so", "ddp", micros, none),
      of("libddp_fp16.so", "ddp_fp16", micros, none),
      of(zero, "zero1", micros, {{"strategy.stage", 1}}),
      of(zero, "zero1_offload", micros, {{"strategy.stage", 1}, {"strategy.offload", "optimizer"}}),
      of(zero, "zero2", ranks, {{"strategy.stage", 2}}),
      of(zero, "zero3", ranks, {{"strategy.stage", 3}}),
      of(zero, "zero3_offload", ranks, {{"strategy.stage", 3}, {"strategy.offload", "optimizer"}}),
      of(gemini, "gemini_static", ranks, {{"strategy.parameter_offload", 0.5}, {"strategy.optimizer_offload", 0.5}}),
      of(gemini, "gemini_auto", ranks, {{"strategy.placement", "auto"}, {"strategy.device_budget_fraction", 0.75}}),
      of(gemini, "gemini_offloaded", ranks,
         {{"strategy.parameter_offload", 1.0}, {"strategy.optimizer_offload", 1.0}})};
}

}  // namespace

const std::vector<Strategy>& strategies() {
  static const std::vector<Strategy> list = all_strategies();
  return list;
}

const Strategy& strategy(const std::string& name) {
  for (const Strategy& one : strategies()) {
    if (one.name == name) return one;
  }
  throw std::runtime_error("no strategy " + name);
}

std::string name_of(const ::testing::TestParamInfo<Cell>& info) {
  const Cell& cell = info.param;
  return cell.precision + "_World" + std::to_string(cell.world) + "_Accumulation" + std::to_string(cell.accumulation) +
         (cell.clip ? "_Clipped" : "");
}

HostRun Matrix::run(const std::string& name, int nproc, int accumulation, const nlohmann::json& strategy,
                    const std::string& precision) const {
  nlohmann::json settings = {{"optimizer.lr", 5e-4},        {"optimizer.weight_decay", 0.05},
                             {"train.max_steps", steps_},   {"train.epochs", 1000},
                             {"train.batch_size", 1},       {"train.eval_every", 0},
                             {"data.shuffle", true},        {"train.accumulation_steps", accumulation},
                             {"train.precision", precision}};
  if (GetParam().clip) settings["train.clip_norm"] = 0.5;
  HostRun result = train(scratch_ / name, "small", settings, nproc, strategy);
  EXPECT_EQ(result.outcome.exit_code, 0) << name << ": " << result.outcome.describe();
  return result;
}

HostRun Matrix::oracle(const std::string& precision, const Strategy& replica) const {
  return run("oracle " + precision, 1, GetParam().world * GetParam().accumulation, replica.settings, precision);
}

void Matrix::expect_equal_bits(const HostRun& expected, const HostRun& actual) const {
  ASSERT_TRUE(is_complete(expected) && is_complete(actual));
  for (size_t k = 0; k < steps_; ++k) {
    EXPECT_EQ(raw_value(expected.folder.lines[k], "loss"), raw_value(actual.folder.lines[k], "loss")) << k + 1;
  }
  const std::string weights = read_file(expected.folder.path / "model/model.safetensors");
  ASSERT_FALSE(weights.empty());
  EXPECT_TRUE(weights == read_file(actual.folder.path / "model/model.safetensors")) << "trained weights differ";
}

void Matrix::expect_close(const HostRun& expected, const HostRun& actual, double tolerance) const {
  ASSERT_TRUE(is_complete(expected) && is_complete(actual));
  for (size_t k = 0; k < steps_; ++k) {
    for (const char* key : {"loss", "grad_norm"}) {
      EXPECT_LT(relative_gap(actual.folder.steps[k].at(key), expected.folder.steps[k].at(key)), tolerance)
          << key << " of step " << k + 1;
    }
  }
}

// Bit for bit with one process where it adds in the same order, and with the others that add in the strategy's own
// order on two ranks with accumulation. On more ranks the mean is no power of two and sums have no common order: then
// to rounding.
void Matrix::expect_every_strategy_equals_the_oracle() const {
  const Cell& cell = GetParam();
  const HostRun expected = oracle(cell.precision);
  std::map<Order, HostRun> first_of;
  for (const Strategy& one : strategies()) {
    SCOPED_TRACE(one.name);
    const HostRun actual = run(one);
    expect_close(expected, actual, kRounding);
    if (has_the_order_of_one_process(cell)) expect_equal_bits(expected, actual);
    const HostRun& peer = first_of.try_emplace(one.order, actual).first->second;
    if (cell.world <= 2) expect_equal_bits(peer, actual);
  }
}

}  // namespace esp::test
