// Sharding and placement change where numbers are kept and not what they are: libzero.so and libgemini.so against
// libddp.so.
#include <gtest/gtest.h>

#include <algorithm>

#include "golden_case.hpp"

namespace esp::test {
namespace {

constexpr size_t kSteps = 7;  // and an evaluation behind the first epoch

const nlohmann::json kTraining = {{"optimizer.lr", 5e-4},          {"optimizer.weight_decay", 0.05},
                                  {"train.max_steps", kSteps},     {"train.epochs", 1000},
                                  {"train.batch_size", 2},         {"data.shuffle", true},
                                  {"train.accumulation_steps", 1}, {"train.eval_every", 1}};

HostRun run(const Scratch& scratch, const std::string& name, int nproc, nlohmann::json settings,
            const nlohmann::json& more = nlohmann::json::object()) {
  settings.update(more);
  HostRun result = train(scratch / name, "small", kTraining, nproc, settings);
  EXPECT_EQ(result.outcome.exit_code, 0) << name << ": " << result.outcome.describe();
  return result;
}

nlohmann::json zero(int stage, const char* offload = "none") {
  return {{"run.plugin", "libzero.so"}, {"strategy.stage", stage}, {"strategy.offload", offload}};
}

// Losses of steps and evaluations as written, and the bytes of the weights.
void expect_equal_bits(const HostRun& expected, const HostRun& actual) {
  ASSERT_EQ(expected.outcome.exit_code + actual.outcome.exit_code, 0);
  ASSERT_EQ(expected.folder.steps.size(), kSteps);
  ASSERT_EQ(expected.folder.lines.size(), actual.folder.lines.size());
  for (size_t k = 0; k < expected.folder.lines.size(); ++k) {
    const bool step = expected.folder.lines[k].find("\"event\"") == std::string::npos;
    const char* key = step ? "loss" : "eval_loss";
    EXPECT_EQ(raw_value(expected.folder.lines[k], key), raw_value(actual.folder.lines[k], key)) << "line " << k + 1;
  }
  for (size_t k = 0; k < expected.folder.steps.size(); ++k) {
    const nlohmann::json &norm = expected.folder.steps[k].at("grad_norm"),
                         &other = actual.folder.steps[k].at("grad_norm");
    ASSERT_EQ(norm.is_number(), other.is_number()) << "step " << k + 1;  // fp16: none where the scale was too high
    if (norm.is_number()) EXPECT_LT(relative_gap(other, norm), 1e-6) << "step " << k + 1;
  }
  const std::string weights = read_file(expected.folder.path / "model/model.safetensors");
  ASSERT_FALSE(weights.empty());
  EXPECT_TRUE(weights == read_file(actual.folder.path / "model/model.safetensors")) << "trained weights differ";
}

class Stage : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Zero, Stage, ::testing::Values(1, 2, 3));

TEST_P(Stage, OnTwoRanksEqualsDdpBitForBit) {
  const Scratch scratch;
  for (const char* precision : {"fp32", "bf16"}) {
    const nlohmann::json settings = {{"train.precision", precision}};
    const std::string name(precision);
    const HostRun ddp = run(scratch, "ddp " + name, 2, settings);
    expect_equal_bits(ddp, run(scratch, "zero " + name, 2, settings, zero(GetParam())));
    expect_equal_bits(ddp, run(scratch, "offloaded " + name, 2, settings, zero(GetParam(), "optimizer")));
  }
}

TEST_P(Stage, AloneEqualsDdpBitForBitWithAccumulationAndClipping) {
  const Scratch scratch;
  const nlohmann::json settings = {{"train.accumulation_steps", 3}, {"train.clip_norm", 0.5}};
  expect_equal_bits(run(scratch, "ddp", 1, settings), run(scratch, "zero", 1, settings, zero(GetParam())));
}

// The order of addition differs from a replica's here, and the partition of three from that of one.
TEST_P(Stage, OnThreeRanksWithAccumulationAndClippingEqualsDdpWithinRounding) {
  const Scratch scratch;
  const nlohmann::json settings = {{"train.accumulation_steps", 2}, {"train.clip_norm", 0.5}, {"train.batch_size", 1}};
  const HostRun ddp = run(scratch, "ddp", 3, settings);
  const HostRun sharded = run(scratch, "zero", 3, settings, zero(GetParam()));
  ASSERT_EQ(ddp.folder.steps.size(), kSteps);
  ASSERT_EQ(sharded.folder.steps.size(), kSteps);
  for (size_t k = 0; k < kSteps; ++k) {
    for (const char* key : {"loss", "grad_norm"}) {
      EXPECT_LT(relative_gap(sharded.folder.steps[k].at(key), ddp.folder.steps[k].at(key)), 2e-5)
          << key << " of step " << k + 1;
    }
  }
}

TEST(ZeroAccumulation, InStageOneEqualsDdpBitForBit) {
  const Scratch scratch;
  const nlohmann::json settings = {{"train.accumulation_steps", 3}, {"train.batch_size", 1}};
  expect_equal_bits(run(scratch, "ddp", 2, settings), run(scratch, "zero", 2, settings, zero(1)));
}

TEST(Zero, TrainsWithFrozenParametersLikeDdp) {
  const Scratch scratch;
  const nlohmann::json settings = {{"model.freeze", {"vit.embeddings.*", "*.layer.1.*"}}};
  const HostRun ddp = run(scratch, "ddp", 2, settings);
  for (int stage : {1, 2, 3}) {
    expect_equal_bits(ddp, run(scratch, "zero " + std::to_string(stage), 2, settings, zero(stage)));
  }
}

nlohmann::json gemini(double parameters, double optimizer) {
  return {{"run.plugin", "libgemini.so"},
          {"strategy.parameter_offload", parameters},
          {"strategy.optimizer_offload", optimizer}};
}

TEST(Gemini, OnTwoRanksEqualsDdpBitForBitWhereverChunksLive) {
  const Scratch scratch;
  for (const char* precision : {"fp32", "bf16"}) {
    const nlohmann::json settings = {{"train.precision", precision}};
    const std::string name(precision);
    const HostRun ddp = run(scratch, "ddp " + name, 2, settings);
    expect_equal_bits(ddp, run(scratch, "on the device " + name, 2, settings, gemini(0, 0)));
    expect_equal_bits(ddp, run(scratch, "half " + name, 2, settings, gemini(0.5, 0.5)));
    expect_equal_bits(ddp, run(scratch, "offloaded " + name, 2, settings, gemini(1, 1)));
  }
}

TEST(Gemini, WithClippingAndWithoutPrefetchEqualsDdpBitForBit) {
  const Scratch scratch;
  const nlohmann::json settings = {{"train.clip_norm", 0.5}};
  nlohmann::json plain = gemini(0.5, 1);
  plain["strategy.prefetch"] = false;
  expect_equal_bits(run(scratch, "ddp", 2, settings), run(scratch, "gemini", 2, settings, plain));
}

TEST(Gemini, FindsPlacesForItsChunksWithinABudget) {
  const Scratch scratch;
  const nlohmann::json automatic = {{"run.plugin", "libgemini.so"}, {"strategy.placement", "auto"}};
  nlohmann::json tight = automatic;
  tight["strategy.device_budget_fraction"] = 0.6;
  const HostRun ddp = run(scratch, "ddp", 2, nlohmann::json::object());
  expect_equal_bits(ddp, run(scratch, "auto", 2, nlohmann::json::object(), automatic));
  expect_equal_bits(ddp, run(scratch, "tight", 2, nlohmann::json::object(), tight));
}

TEST(DdpFp16, EqualsDdpThatIsAskedForFp16) {
  const Scratch scratch;
  const HostRun asked = run(scratch, "ddp", 2, {{"train.precision", "fp16"}});
  const HostRun same = run(scratch, "fp16", 2, {{"train.precision", "fp16"}}, {{"run.plugin", "libddp_fp16.so"}});
  expect_equal_bits(asked, same);
  const HostRun sharded = run(scratch, "zero", 2, {{"train.precision", "fp16"}}, zero(3));
  expect_equal_bits(asked, sharded);
}

}  // namespace
}  // namespace esp::test
