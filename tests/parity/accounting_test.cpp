// Every sample is trained on once an epoch and scored once an evaluation, whatever the number of ranks.
#include <gtest/gtest.h>

#include "golden_case.hpp"

namespace esp::test {
namespace {

constexpr uint64_t kTrain = 23, kValidation = 10;  // of the stored images

const nlohmann::json kShuffled = {{"optimizer.lr", 5e-4},
                                  {"train.epochs", 2},
                                  {"train.global_batch_size", 6},
                                  {"data.shuffle", true},
                                  {"data.augment", "flip"}};

class Ranks : public ::testing::TestWithParam<int> {};

// 23 samples in steps of 6 leave 5 for the last one: a rank of three gets one of them, or two.
TEST_P(Ranks, ShareEveryStepOfOneProcess) {
  const Scratch scratch;
  const HostRun alone = train(scratch / "alone", "small", kShuffled, 1);
  const HostRun ranks = train(scratch / "ranks", "small", kShuffled, GetParam());
  ASSERT_EQ(alone.outcome.exit_code, 0) << alone.outcome.describe();
  ASSERT_EQ(ranks.outcome.exit_code, 0) << ranks.outcome.describe();
  ASSERT_EQ(alone.folder.steps.size(), 8u);
  ASSERT_EQ(ranks.folder.steps.size(), 8u);
  for (size_t k = 0; k < 8; ++k) {
    SCOPED_TRACE("step " + std::to_string(k + 1));
    for (const char* key : {"loss", "grad_norm"}) {
      EXPECT_LT(relative_gap(ranks.folder.steps[k].at(key), alone.folder.steps[k].at(key)), 2e-5) << key;
    }
  }
  EXPECT_EQ(ranks.folder.results.at("eval_samples"), kValidation);
  EXPECT_EQ(ranks.folder.results.at("eval_correct"), alone.folder.results.at("eval_correct"));
  EXPECT_EQ(ranks.folder.results.at("world_size"), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Number, Ranks, ::testing::Values(2, 3));

// The mean over an epoch's samples does not change when their order does and the weights do not (lr 0): every sample
// was there once. Weights by samples: with the means of steps instead, the short last step would show.
TEST(Epoch, HoldsEverySampleOnceInAnyOrder) {
  const Scratch scratch;
  const nlohmann::json still = {{"optimizer.lr", 0.0}, {"train.global_batch_size", 6}, {"train.accumulation_steps", 1}};
  const nlohmann::json order = {{"train.epochs", 1}, {"data.shuffle", false}};
  const nlohmann::json shuffled = {{"train.epochs", 3}, {"data.shuffle", true}};
  const HostRun plain = train(scratch / "plain", "small", still, 1, order);
  const HostRun mixed = train(scratch / "mixed", "small", still, 2, shuffled);
  ASSERT_EQ(plain.outcome.exit_code, 0) << plain.outcome.describe();
  ASSERT_EQ(mixed.outcome.exit_code, 0) << mixed.outcome.describe();

  const auto epoch_mean = [](const HostRun& run, size_t epoch) {
    double sum = 0;
    for (size_t k = 0; k < 4; ++k)
      sum += (k < 3 ? 6.0 : 5.0) * run.folder.steps.at(4 * epoch + k).at("loss").get<double>();
    return sum / static_cast<double>(kTrain);
  };
  const double score = goldens().at("scores").at("small").at("train").at("loss");
  EXPECT_LT(relative_gap(epoch_mean(plain, 0), score), 1e-5);
  for (size_t epoch = 0; epoch < 3; ++epoch) EXPECT_LT(relative_gap(epoch_mean(mixed, epoch), score), 1e-5) << epoch;
  EXPECT_NE(mixed.folder.steps[0].at("loss"), mixed.folder.steps[4].at("loss")) << "epochs come in the same order";
  EXPECT_LT(relative_gap(plain.folder.results.at("train_loss"), score), 1e-5);
}

}  // namespace
}  // namespace esp::test
