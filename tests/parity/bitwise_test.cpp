// Runs that must agree bit for bit: same losses and norms as written, same bytes of weights.
#include <gtest/gtest.h>

#include "golden_case.hpp"

namespace esp::test {
namespace {

const nlohmann::json kTraining = {{"optimizer.lr", 5e-4},  {"optimizer.weight_decay", 0.05}, {"train.epochs", 1000},
                                  {"train.eval_every", 0}, {"train.global_batch_size", 4},   {"train.clip_norm", 1.0},
                                  {"data.shuffle", true},  {"data.augment", "flip"}};

nlohmann::json with(nlohmann::json settings, const nlohmann::json& more) {
  settings.update(more);
  return settings;
}

// Numbers are compared as they are written, which needs a writer that writes fp64 exactly.
void expect_equal_bits(const HostRun& one, const HostRun& other) {
  ASSERT_EQ(one.outcome.exit_code, 0) << one.outcome.describe();
  ASSERT_EQ(other.outcome.exit_code, 0) << other.outcome.describe();
  ASSERT_EQ(one.folder.lines.size(), other.folder.lines.size());
  ASSERT_FALSE(one.folder.steps.empty());
  for (size_t k = 0; k < one.folder.lines.size(); ++k) {
    for (const char* key : {"step", "loss", "lr", "grad_norm"}) {
      ASSERT_EQ(raw_value(one.folder.lines[k], key), raw_value(other.folder.lines[k], key))
          << key << " in line " << k + 1 << " of metrics.jsonl";
    }
  }
  const std::string weights = read_file(one.folder.path / "model/model.safetensors");
  ASSERT_FALSE(weights.empty());
  EXPECT_TRUE(weights == read_file(other.folder.path / "model/model.safetensors")) << "trained weights differ";
}

TEST(Bitwise, TwoRanksEqualOneProcessThatAccumulatesOver200Steps) {
  const Scratch scratch;
  const nlohmann::json settings = with(kTraining, {{"train.max_steps", 200}});
  const HostRun ranks = train(scratch / "ranks", "small", settings, 2, {{"train.accumulation_steps", 1}});
  const HostRun alone = train(scratch / "alone", "small", settings, 1, {{"train.accumulation_steps", 2}});
  expect_equal_bits(ranks, alone);
  EXPECT_EQ(ranks.folder.steps.size(), 200u);
}

// Frozen parameters and a model without biases in attention take other paths through layout and buckets.
TEST(Bitwise, TwoRanksEqualOneProcessWithFrozenParameters) {
  const Scratch scratch;
  const nlohmann::json settings =
      with(kTraining, {{"train.max_steps", 30}, {"model.freeze", {"vit.embeddings.*", "*.layer.1.*"}}});
  expect_equal_bits(train(scratch / "ranks", "odd", settings, 2, {{"train.accumulation_steps", 1}}),
                    train(scratch / "alone", "odd", settings, 1, {{"train.accumulation_steps", 2}}));
}

class Twice : public ::testing::TestWithParam<int> {};

TEST_P(Twice, TheSameRunGivesTheSameBits) {
  const Scratch scratch;
  const nlohmann::json settings =
      with(kTraining,
           {{"train.max_steps", 60}, {"train.accumulation_steps", 2}, {"train.global_batch_size", 4 * GetParam()}});
  expect_equal_bits(train(scratch / "first", "small", settings, GetParam()),
                    train(scratch / "second", "small", settings, GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Ranks, Twice, ::testing::Values(1, 2, 3));

class Recompute : public ::testing::TestWithParam<const char*> {};

TEST_P(Recompute, OfBlocksChangesNoBit) {
  const Scratch scratch;
  const nlohmann::json settings = with(kTraining, {{"train.max_steps", 40}, {"train.precision", GetParam()}});
  expect_equal_bits(train(scratch / "none", "small", settings, 1, {{"model.recompute", "none"}}),
                    train(scratch / "block", "small", settings, 1, {{"model.recompute", "block"}}));
}

INSTANTIATE_TEST_SUITE_P(Precision, Recompute, ::testing::Values("fp32", "bf16"));

// The tests above compare something: another seed is another run.
TEST(Bitwise, AnotherSeedGivesOtherBits) {
  const Scratch scratch;
  const nlohmann::json settings = with(kTraining, {{"train.max_steps", 3}});
  const HostRun one = train(scratch / "one", "small", settings, 1, {{"run.seed", 1}});
  const HostRun two = train(scratch / "two", "small", settings, 1, {{"run.seed", 2}});
  ASSERT_EQ(one.outcome.exit_code, 0) << one.outcome.describe();
  ASSERT_EQ(two.outcome.exit_code, 0) << two.outcome.describe();
  EXPECT_NE(raw_value(one.folder.lines.back(), "loss"), raw_value(two.folder.lines.back(), "loss"));
}

}  // namespace
}  // namespace esp::test
