// The replicated strategies as libraries, on a mock host, against an oracle.
#include <gtest/gtest.h>

#include <algorithm>

#include "toy_run.hpp"

namespace {

ToySettings ddp() {
  ToySettings settings;
  settings.library = ESPALIER_DDP;
  settings.update.flags = ESP_UPDATE_NORM;
  return settings;
}

void expect_equal(const Values& expected, const ToyRank& rank, const std::string& what) {
  EXPECT_EQ("", rank.error) << what;
  EXPECT_EQ(std::vector<std::string>(), rank.host->violations) << what;
  EXPECT_EQ(0u, rank.freed_to) << what << ": memory that destroy left behind";
  ASSERT_EQ(expected.size(), rank.weights.size()) << what;
  for (size_t param = 0; param < expected.size(); ++param) {
    EXPECT_EQ(expected[param], rank.weights[param]) << what << ", parameter " << param;
  }
}

std::vector<size_t> ops_of(const ToyRank& rank, const std::string& what, size_t step = 0) {
  std::vector<size_t> out;
  const size_t end = step + 1 < rank.step_ops.size() ? rank.step_ops[step + 1] : rank.host->ops.size();
  for (size_t i = rank.step_ops[step]; i < end; ++i) {
    if (rank.host->ops[i].what == what) out.push_back(i);
  }
  return out;
}

TEST(Ddp, EqualsTheOracleBitForBit) {
  for (int world : {1, 2, 3}) {
    for (uint32_t n_micro : {1u, 2u}) {
      for (uint32_t flags : {0u, ESP_UPDATE_NORM, ESP_UPDATE_NORM | ESP_UPDATE_BARRIER}) {
        for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16}) {
          ToySettings settings = ddp();
          settings.world = world;
          settings.n_micro = n_micro;
          settings.update.flags = flags;
          settings.precision = precision;
          const auto ranks = train(settings);
          for (const ToyRank& rank : ranks) {
            expect_equal(oracle(settings), rank,
                         "world " + std::to_string(world) + ", micro-batches " + std::to_string(n_micro) + ", flags " +
                             std::to_string(flags) + ", precision " + std::to_string(precision));
          }
        }
      }
    }
  }
}

TEST(Ddp, OnTwoRanksEqualsOneProcessThatAccumulatesTwoMicroBatches) {
  ToySettings two = ddp(), one = ddp();
  two.world = 2;
  one.n_micro = 2;
  two.tied = one.tied = false;  // with tied weights the two add in different orders
  expect_equal(train(one)[0].weights, train(two)[1], "two ranks");
}

TEST(Ddp, MergedBucketsChangeNothingButTheirNumber) {
  ToySettings settings = ddp();
  settings.world = 2;
  const auto single = train(settings);
  settings.options["bucket_bytes"] = 1u << 20;
  const auto merged = train(settings);
  expect_equal(single[0].weights, merged[0], "merged");
  EXPECT_EQ(4u, ops_of(single[0], "all_reduce").size());
  EXPECT_EQ(1u, ops_of(merged[0], "all_reduce").size());
}

TEST(Ddp, UpdatesEveryTrainableElementOnceAStepAndNothingElse) {
  ToySettings settings = ddp();
  settings.n_micro = 2;
  settings.world = 2;
  const Toy toy(1, true);
  uint64_t elements = 0;
  const auto ranks = train(settings);
  const auto& applied = ranks[1].host->applied;
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    const uint64_t numel = toy.trainable(param) ? toy.view().params[param]->numel : 0;
    elements += numel;
    if (numel == 0) {
      EXPECT_EQ(0u, applied.count(param)) << param;
      continue;
    }
    ASSERT_EQ(numel, applied.at(param).size()) << param;
    for (const auto& [element, times] : applied.at(param)) EXPECT_EQ(1, times) << param << ", element " << element;
  }
  EXPECT_EQ(settings.steps * elements, ranks[0].host->norm_elements) << "no padding, everything once";
}

TEST(Ddp, BindsOnceWithoutGradientsForWhatIsFrozen) {
  const auto rank = std::move(train(ddp())[0]);
  EXPECT_EQ(0u, rank.host->params.count(Toy::kEmpty));
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    if (param == Toy::kEmpty) continue;
    ASSERT_EQ(1u, rank.host->params.count(param)) << param;
    EXPECT_EQ(param == Toy::kFrozen ? 0u : 1u, rank.host->gradients.count(param)) << param;
    EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(rank.host->params.at(param).data) % 256) << param;
  }
  EXPECT_EQ(ESP_WRITE_EACH_PASS, rank.host->gradients.at(Toy::kHead).mode);
}

TEST(Ddp, ReducesABucketAsSoonAsItIsFinalAndNotBefore) {
  ToySettings settings = ddp();
  settings.world = 2;
  settings.n_micro = 2;
  const auto rank = std::move(train(settings)[0]);
  const auto reductions = ops_of(rank, "all_reduce");
  ASSERT_EQ(4u, reductions.size());
  for (uint32_t i = 0; i < 4; ++i) {
    const std::string unit = std::to_string(3 - i);
    const size_t final = ops_of(rank, "gradients " + unit + " 1").at(0);
    EXPECT_GT(reductions[i], final);
    EXPECT_EQ(1u, rank.host->ops[reductions[i]].after.count(final))
        << "the reduction of unit " << unit << " may run early";
    if (i < 3) {
      const size_t next = ops_of(rank, "backward " + std::to_string(2 - i) + " 1").at(0);
      EXPECT_LT(reductions[i], next) << "not hidden under backward";
      EXPECT_EQ(0u, rank.host->ops[next].after.count(reductions[i])) << "backward waits for the reduction";
    }
  }
}

TEST(Ddp, NoReductionWaitsForAnUpdateAndEachUpdateForItsOwnReduction) {
  ToySettings settings = ddp();
  settings.world = 2;
  const auto rank = std::move(train(settings)[0]);
  const auto reductions = ops_of(rank, "all_reduce"), updates = ops_of(rank, "apply");
  ASSERT_EQ(4u, reductions.size());
  ASSERT_EQ(4u, updates.size());
  for (uint32_t i = 0; i < 4; ++i) {
    const auto& ops = rank.host->ops;
    EXPECT_EQ(1u, ops[updates[i]].after.count(reductions[i]));
    for (size_t update : updates) EXPECT_EQ(0u, ops[reductions[i]].after.count(update)) << i;
  }
}

TEST(Ddp, UpdatesUnderBackwardBehindTheLastUseOfTheWeights) {
  for (int world : {1, 2}) {
    ToySettings settings = ddp();
    settings.world = world;
    const auto rank = std::move(train(settings)[0]);
    const auto updates = ops_of(rank, "apply");
    ASSERT_EQ(4u, updates.size());
    for (uint32_t i = 0; i < 4; ++i) {
      const auto& op = rank.host->ops[updates[i]];
      const size_t use = ops_of(rank, "backward " + std::to_string(3 - i) + " 0").at(0);
      const size_t gradients = ops_of(rank, "gradients " + std::to_string(3 - i) + " 0").at(0);
      EXPECT_EQ(1u, op.after.count(use)) << "weights may change while backward reads them";
      EXPECT_EQ(1u, op.after.count(gradients));
    }
    EXPECT_LT(updates[0], ops_of(rank, "backward 2 0").at(0)) << "not hidden under backward";
  }
}

TEST(Ddp, WaitsForTheNormWhenTheOptimizerNeedsIt) {
  ToySettings settings = ddp();
  settings.world = 2;
  settings.update.flags = ESP_UPDATE_NORM | ESP_UPDATE_BARRIER;
  const auto rank = std::move(train(settings)[0]);
  const auto finished = ops_of(rank, "norm_finish");
  ASSERT_EQ(1u, finished.size());
  for (size_t update : ops_of(rank, "apply")) EXPECT_GT(update, finished[0]);
  for (size_t addition : ops_of(rank, "norm_add")) EXPECT_LT(addition, finished[0]);
}

TEST(Ddp, LeavesTheNormAloneUnlessItIsAskedFor) {
  ToySettings settings = ddp();
  settings.update.flags = 0;
  const auto rank = std::move(train(settings)[0]);
  EXPECT_EQ(0u, ops_of(rank, "norm_add").size());
  EXPECT_EQ(0u, ops_of(rank, "norm_finish").size());
}

TEST(Ddp, AloneCommunicatesNothing) {
  const auto rank = std::move(train(ddp())[0]);
  for (const auto& op : rank.host->ops) EXPECT_NE("all_reduce", op.what);
}

TEST(Ddp, ListsEveryElementOfEverySlotOnce) {
  ToySettings settings = ddp();
  settings.precision = ESP_PRECISION_BF16;
  settings.world = 2;
  const auto ranks = train(settings);
  const Toy toy(1, true);
  EXPECT_EQ(ranks[0].shards, ranks[0].shards_again);
  std::map<std::pair<uint32_t, std::string>, uint64_t> covered;
  for (const ToyShard& shard : ranks[1].shards) {
    EXPECT_EQ(ESP_SHARD_REPLICATED, shard.flags);
    EXPECT_EQ(0u, shard.lo);
    covered[{shard.param, shard.slot}] += shard.hi - shard.lo;
    if (shard.slot == "param") {
      EXPECT_EQ(shard.param == Toy::kFrozen ? ESP_BF16 : ESP_F32, shard.dtype) << "at the highest precision held";
    }
  }
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    const uint64_t numel = toy.view().params[param]->numel;
    EXPECT_EQ(numel, (covered[{param, "param"}])) << param;
    EXPECT_EQ(toy.trainable(param) ? numel : 0, (covered[{param, "momentum"}])) << param;
  }
}

TEST(Ddp, HoldsMastersOnlyWhereTheModelComputesInLess) {
  for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16}) {
    ToySettings settings = ddp();
    settings.precision = precision;
    const auto rank = std::move(train(settings)[0]);
    const auto held = std::find_if(rank.shards.begin(), rank.shards.end(), [](const ToyShard& shard) {
      return shard.param == Toy::kHead && shard.slot == "param";
    });
    ASSERT_NE(rank.shards.end(), held);
    EXPECT_EQ(precision == ESP_PRECISION_FP32, held->data == rank.host->params.at(Toy::kHead).data);
  }
}

TEST(Ddp, ChoosesBf16OnCudaAndFp32OnCpus) {
  ToySettings settings = ddp();
  settings.steps = 1;
  EXPECT_EQ(ESP_F32, train(settings)[0].plan.compute_t);
  settings.device_kind = ESP_CUDA;
  EXPECT_EQ(ESP_BF16, train(settings)[0].plan.compute_t);
  settings.precision = ESP_PRECISION_TF32;
  EXPECT_EQ(ESP_F32, train(settings)[0].plan.compute_t);
}

TEST(Ddp, RefusesAPrecisionItDoesNotKnowInPlan) {
  ToySettings settings = ddp();
  settings.precision = 77;
  const auto rank = std::move(train(settings)[0]);
  EXPECT_EQ(0u, rank.error.find("plan: precision number 77")) << rank.error;
}

TEST(Ddp, InfersWithWeightsAlone) {
  ToySettings settings = ddp();
  settings.mode = ESP_MODE_INFER;
  settings.precision = ESP_PRECISION_BF16;
  const auto rank = std::move(train(settings)[0]);
  EXPECT_EQ("", rank.error);
  EXPECT_EQ(0u, rank.host->gradients.size());
  EXPECT_EQ(8u, rank.host->params.size());
  EXPECT_EQ(8u, rank.shards.size()) << "weights and no optimizer state";
  EXPECT_NE(0u, rank.plan.caps & ESP_CAP_INFER);
}

TEST(LocalSgd, EqualsTheOracleThatAveragesWeights) {
  for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16}) {
    ToySettings settings = ddp();
    settings.library = ESPALIER_LOCAL_SGD;
    settings.world = 2;
    settings.steps = 5;
    settings.precision = precision;
    settings.options["period"] = 2;
    const auto ranks = train(settings);
    expect_equal(oracle(settings, 2), ranks[0], "precision " + std::to_string(precision));
    EXPECT_NE(ranks[0].weights, ranks[1].weights) << "step 5 is on their own";
    EXPECT_EQ(0u, ranks[1].shards.size()) << "the first rank's copy is the one that counts";
    settings.steps = 4;
    const auto even = train(settings);
    EXPECT_EQ(even[0].weights, even[1].weights);
  }
}

TEST(LocalSgd, SpreadsWhatWasLoadedInInferenceToo) {
  ToySettings settings = ddp();
  settings.library = ESPALIER_LOCAL_SGD;
  settings.world = 2;
  settings.mode = ESP_MODE_INFER;
  const auto ranks = train(settings);
  EXPECT_EQ("", ranks[1].error);
  EXPECT_EQ(ranks[0].weights, ranks[1].weights);
  EXPECT_NE(0.0f, ranks[1].weights[Toy::kHead][0]);
}

TEST(PlainDdp, ReducesBehindAllGradients) {
  ToySettings settings = ddp();
  settings.library = ESPALIER_PLAIN_DDP;
  settings.world = 2;
  const auto rank = std::move(train(settings)[0]);
  const auto reductions = ops_of(rank, "all_reduce");
  ASSERT_EQ(1u, reductions.size());
  for (const char* unit : {"0", "1", "2", "3"}) {
    const size_t final = ops_of(rank, std::string("gradients ") + unit + " 0").at(0);
    EXPECT_EQ(1u, rank.host->ops[reductions[0]].after.count(final)) << unit;
  }
}

TEST(PlainDdp, EqualsTheOracle) {
  for (int world : {1, 2}) {
    for (uint32_t n_micro : {1u, 2u}) {
      ToySettings settings = ddp();
      settings.library = ESPALIER_PLAIN_DDP;
      settings.world = world;
      settings.n_micro = n_micro;
      settings.update.flags = ESP_UPDATE_NORM | ESP_UPDATE_BARRIER;
      for (const ToyRank& rank : train(settings)) expect_equal(oracle(settings), rank, "plain");
    }
  }
}

}  // namespace
