// libzero.so on a mock host, against the oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sharded_run.hpp"

namespace {

ToySettings zero(uint64_t stage, int world) {
  ToySettings settings;
  settings.library = ESPALIER_ZERO;
  settings.update.flags = ESP_UPDATE_NORM;
  settings.world = world;
  settings.options["stage"] = stage;
  return settings;
}

// Alone a rank accumulates like a replica, in every stage.
Values expected(const ToySettings& settings) {
  const bool sharded = settings.options.at("stage") > 1 && settings.world > 1;
  return oracle(settings, 0, sharded ? Addition::kRanksThenMicros : Addition::kMicrosThenRanks);
}

std::string describe(const ToySettings& settings) {
  return "stage " + std::to_string(settings.options.at("stage")) + ", world " + std::to_string(settings.world) +
         ", micro-batches " + std::to_string(settings.n_micro) + ", flags " + std::to_string(settings.update.flags) +
         ", precision " + std::to_string(settings.precision) + (settings.tied ? ", tied" : "") +
         (settings.texts.empty() ? "" : ", offloaded");
}

// Elements of trainable parameters.
uint64_t trained_elements() {
  const Toy toy(1, true);
  uint64_t elements = 0;
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    if (toy.trainable(param)) elements += toy.view().params[param]->numel;
  }
  return elements;
}

void check(const ToySettings& settings) {
  SCOPED_TRACE(describe(settings));
  check_sharded(settings, expected);
}

using StageAndWorld = std::tuple<uint64_t, int>;
class Zero : public ::testing::TestWithParam<StageAndWorld> {
 protected:
  ToySettings settings() const { return zero(std::get<0>(GetParam()), std::get<1>(GetParam())); }
};

INSTANTIATE_TEST_SUITE_P(StagesAndWorlds, Zero,
                         ::testing::Combine(::testing::Values(1u, 2u, 3u), ::testing::Values(1, 2, 3, 5)));

TEST_P(Zero, EqualsTheOracleBitForBit) {
  for (const ToySettings& run : update_variants(settings())) check(run);
}

TEST_P(Zero, EqualsTheOracleWithTheOptimizerInHostMemory) {
  for (uint32_t flags : {ESP_UPDATE_NORM, ESP_UPDATE_NORM | ESP_UPDATE_BARRIER}) {
    for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16}) {
      ToySettings run = settings();
      run.n_micro = 2;
      run.update.flags = flags;
      run.precision = precision;
      run.texts["offload"] = "optimizer";
      check(run);
    }
  }
}

TEST_P(Zero, EqualsTheOracleWithoutTiedWeightsAndMomentum) {
  ToySettings run = settings();
  run.tied = false;
  run.update.momentum = false;
  check(run);
}

TEST_P(Zero, UpdatesAndCountsEveryTrainableElementOnceAStep) {
  ToySettings run = settings();
  run.n_micro = 2;
  const Toy toy(1, true);
  const auto ranks = train(run);
  std::map<uint32_t, std::map<uint64_t, int>> applied;
  uint64_t norm_elements = 0;
  for (const ToyRank& rank : ranks) {
    norm_elements += rank.host->norm_elements;
    EXPECT_TRUE(rank.host->norm_is_sharded);
    EXPECT_EQ(1, rank.host->norms_finished);
    for (const auto& [param, elements] : rank.host->applied) {
      for (const auto& [element, times] : elements) applied[param][element] += times;
    }
  }
  EXPECT_EQ(run.steps * trained_elements(), norm_elements) << "no padding, everything once";
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    EXPECT_EQ(toy.trainable(param) ? toy.view().params[param]->numel : 0, applied[param].size()) << param;
    for (const auto& [element, times] : applied[param]) EXPECT_EQ(1, times) << param << ", element " << element;
  }
}

TEST_P(Zero, ListsEveryElementOnceOverAllRanks) {
  ToySettings run = settings();
  run.precision = ESP_PRECISION_BF16;
  const auto ranks = train(run);
  const Toy toy(1, true);
  const Values weights = assembled(ranks, "param"), momentum = assembled(ranks, "momentum");
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    const uint64_t numel = toy.view().params[param]->numel;
    EXPECT_EQ(numel, weights[param].size()) << param;
    EXPECT_EQ(toy.trainable(param) ? numel : 0, momentum[param].size()) << param;
  }
}

TEST_P(Zero, InfersWithWeightsAlone) {
  ToySettings run = settings();
  run.mode = ESP_MODE_INFER;
  run.precision = ESP_PRECISION_BF16;
  run.texts["offload"] = "optimizer";
  const auto ranks = train(run);
  ToySettings untrained = run;
  untrained.steps = 0;
  const Values weights = expected(untrained);
  for (const ToyRank& rank : ranks) {
    ASSERT_EQ("", rank.error);
    EXPECT_EQ(std::vector<std::string>(), rank.host->violations);
    EXPECT_TRUE(rank.host->gradients.empty());
    EXPECT_EQ(weights[Toy::kHead], rank.evaluated.back()[Toy::kHead]);
    EXPECT_EQ(weights[Toy::kFrozen], rank.evaluated.back()[Toy::kFrozen]);
    for (const ToyShard& shard : rank.shards) EXPECT_EQ("param", shard.slot);
  }
}

size_t index_of(const ToyRank& rank, const std::string& what, size_t from) {
  const auto& ops = rank.host->ops;
  size_t i = from;
  while (i < ops.size() && ops[i].what != what) ++i;
  return i;
}

TEST(ZeroOverlap, GathersWeightsUnderTheForwardOfTheNextStep) {
  ToySettings settings = zero(1, 2);
  settings.steps = 1;
  const auto rank = std::move(train(settings)[0]);
  // The evaluation behind the step is the next use: all gathers are under way before the first unit, which waits for
  // its own blocks alone.
  const auto& ops = rank.host->ops;
  const size_t step = rank.step_ops[0];
  EXPECT_LT(index_of(rank, "reduce_scatter", step), index_of(rank, "backward 2 0", step)) << "not hidden";
  const size_t first = index_of(rank, "forward 0", index_of(rank, "apply", step));
  std::vector<size_t> gathers;
  for (size_t i = step; i < first; ++i) {
    if (ops[i].what == "all_gather") gathers.push_back(i);
  }
  ASSERT_EQ(5u, gathers.size()) << "four units and the tied block";
  EXPECT_EQ(1u, ops[first].after.count(gathers[0]));
  EXPECT_EQ(0u, ops[first].after.count(gathers.back())) << "the first unit waits for the last block";
}

TEST(ZeroOverlap, FetchesTheNextUnitWhileOneComputes) {
  const auto rank = std::move(train(zero(3, 2))[0]);
  const auto& ops = rank.host->ops;
  const size_t step = rank.step_ops[1];
  const size_t second = index_of(rank, "forward 1", step);
  size_t fetched_ahead = 0;
  for (size_t i = step; i < second; ++i) {
    if (ops[i].what == "all_gather" && ops[second].after.count(i) == 0) ++fetched_ahead;
  }
  EXPECT_GE(fetched_ahead, 1u) << "unit 1 waits for what unit 2 needs, or nothing is fetched ahead";
}

TEST(ZeroOverlap, NoReductionWaitsForAnUpdate) {
  for (uint64_t stage : {1u, 2u, 3u}) {
    const auto rank = std::move(train(zero(stage, 2))[0]);
    const auto& ops = rank.host->ops;
    size_t updates = 0, reductions = 0;
    for (size_t i = rank.step_ops[0]; i < rank.step_ops[1]; ++i) {
      if (ops[i].what == "apply") ++updates;
      if (ops[i].what != "reduce_scatter") continue;
      ++reductions;
      for (size_t earlier = rank.step_ops[0]; earlier < i; ++earlier) {
        EXPECT_FALSE(ops[earlier].what == "apply" && ops[i].after.count(earlier) == 1) << "stage " << stage;
      }
    }
    EXPECT_GT(updates, 1u);
    EXPECT_GT(reductions, 1u);
  }
}

TEST(ZeroOverlap, CommunicatesNothingAlone) {
  for (uint64_t stage : {1u, 2u, 3u}) {
    const auto rank = std::move(train(zero(stage, 1))[0]);
    for (const auto& op : rank.host->ops) {
      EXPECT_TRUE(op.what != "all_gather" && op.what != "reduce_scatter") << op.what;
    }
  }
}

TEST(ZeroPlan, TellsTheScalerWhatTheOptionsSay) {
  ToySettings settings = zero(2, 1);
  settings.steps = 0;
  settings.options["initial_scale_power"] = 5;
  settings.options["loss_scale_window"] = 7;
  const esp_plan plan = train(settings)[0].plan;
  EXPECT_EQ(32.0f, plan.scale_init);
  EXPECT_EQ(7u, plan.scale_window);
  EXPECT_EQ(2u, plan.scale_hysteresis);
  EXPECT_EQ(1.0f, plan.scale_min);
}

TEST(ZeroPlan, RefusesAScaleThatStartsBelowItsFloor) {
  ToySettings settings = zero(1, 1);
  settings.options["initial_scale_power"] = 0;
  union {
    double f;
    uint64_t u;
  } floor{8.0};
  settings.options["min_loss_scale"] = floor.u;
  EXPECT_NE(std::string::npos, train(settings)[0].error.find("below min_loss_scale")) << train(settings)[0].error;
}

TEST(DdpFp16, IsTheReplicaWithAnotherDefault) {
  ToySettings settings = zero(1, 2);
  settings.options.clear();
  settings.library = ESPALIER_DDP_FP16;
  settings.mode = ESP_MODE_INFER;
  settings.steps = 0;
  settings.precision = ESP_PRECISION_FP32;
  EXPECT_EQ(ESP_F32, train(settings)[0].plan.compute_t);
  EXPECT_EQ(65536.0f, train(settings)[0].plan.scale_init);
  settings.mode = ESP_MODE_TRAIN;
  settings.steps = 3;
  for (const ToyRank& rank : train(settings)) {
    ASSERT_EQ("", rank.error);
    EXPECT_EQ(oracle(settings), rank.weights);
  }
}

}  // namespace
