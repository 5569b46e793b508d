// libgemini.so on a mock host, against the oracle.
#include <gtest/gtest.h>

#include <cstring>
#include <espalier/kit/lifecycle.hpp>

#include "sharded_run.hpp"

namespace {

uint64_t real(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

ToySettings gemini(int world, double parameters = 0, double optimizer = 0) {
  ToySettings settings;
  settings.library = ESPALIER_GEMINI;
  settings.update.flags = ESP_UPDATE_NORM;
  settings.world = world;
  settings.options["parameter_offload"] = real(parameters);
  settings.options["optimizer_offload"] = real(optimizer);
  return settings;
}

// Ranks are averaged before micro-batches are added, also by a rank alone.
Values expected(const ToySettings& settings) { return oracle(settings, 0, Addition::kRanksThenMicros); }

void check(const ToySettings& settings) {
  std::string options;
  for (const auto& [key, value] : settings.options) options += " " + key + "=" + std::to_string(value);
  SCOPED_TRACE("world " + std::to_string(settings.world) + ", micro-batches " + std::to_string(settings.n_micro) +
               ", flags " + std::to_string(settings.update.flags) + ", precision " +
               std::to_string(settings.precision) + ", budget " + std::to_string(settings.budget_device) + options);
  check_sharded(settings, expected);
}

uint64_t taken(const ToyRank& rank, uint32_t place) {
  uint64_t bytes = 0;
  for (const auto& [tag, taken] : rank.host->allocated[place]) bytes += taken;
  return bytes;
}

size_t times(const ToyRank& rank, const std::string& what) {
  size_t count = 0;
  for (const auto& op : rank.host->ops) count += op.what == what ? 1 : 0;
  return count;
}

size_t index_of(const ToyRank& rank, const std::string& what, size_t from) {
  const auto& ops = rank.host->ops;
  while (from < ops.size() && ops[from].what != what) ++from;
  return from;
}

struct Fractions {
  double parameters, optimizer;
};
class Gemini : public ::testing::TestWithParam<std::tuple<Fractions, int>> {
 protected:
  ToySettings settings() const {
    const auto& [fractions, world] = GetParam();
    return gemini(world, fractions.parameters, fractions.optimizer);
  }
};

std::string name_of(const ::testing::TestParamInfo<std::tuple<Fractions, int>>& info) {
  const auto& [fractions, world] = info.param;
  const auto percent = [](double part) { return std::to_string(static_cast<int>(part * 100)); };
  return "Parameters" + percent(fractions.parameters) + "Optimizer" + percent(fractions.optimizer) + "World" +
         std::to_string(world);
}
INSTANTIATE_TEST_SUITE_P(PlacementsAndWorlds, Gemini,
                         ::testing::Combine(::testing::Values(Fractions{0, 0}, Fractions{0, 0.5}, Fractions{0, 1},
                                                              Fractions{0.5, 0.5}, Fractions{0.5, 1}, Fractions{1, 1}),
                                            ::testing::Values(1, 2, 3, 5)),
                         name_of);

TEST_P(Gemini, EqualsTheOracleBitForBit) {
  for (const ToySettings& run : update_variants(settings())) check(run);
}

TEST_P(Gemini, EqualsTheOracleWithoutPrefetchAndWithAllChunksGathered) {
  for (const auto& [key, value] : {std::pair{"prefetch", 0}, std::pair{"gathered_chunks", 100}}) {
    ToySettings run = settings();
    run.n_micro = 2;
    run.precision = ESP_PRECISION_BF16;
    run.options[key] = static_cast<uint64_t>(value);
    check(run);
  }
}

TEST_P(Gemini, EqualsTheOracleWithoutTiedWeightsAndMomentum) {
  ToySettings run = settings();
  run.tied = false;
  run.update.momentum = false;
  check(run);
}

TEST_P(Gemini, UpdatesAndCountsEveryTrainableElementOnceAStep) {
  ToySettings run = settings();
  run.n_micro = 2;
  const Toy toy(1, true);
  std::map<uint32_t, std::map<uint64_t, int>> applied;
  uint64_t norm_elements = 0, elements = 0;
  for (const ToyRank& rank : train(run)) {
    norm_elements += rank.host->norm_elements;
    EXPECT_TRUE(rank.host->norm_is_sharded);
    EXPECT_EQ(1, rank.host->norms_finished);
    for (const auto& [param, counts] : rank.host->applied) {
      for (const auto& [element, count] : counts) applied[param][element] += count;
    }
  }
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    const uint64_t numel = toy.trainable(param) ? toy.view().params[param]->numel : 0;
    elements += numel;
    EXPECT_EQ(numel, applied[param].size()) << param;
    for (const auto& [element, count] : applied[param]) EXPECT_EQ(1, count) << param << ", element " << element;
  }
  EXPECT_EQ(run.steps * elements, norm_elements) << "no padding, everything once";
}

TEST_P(Gemini, InfersWithWeightsAlone) {
  ToySettings run = settings();
  run.mode = ESP_MODE_INFER;
  run.precision = ESP_PRECISION_BF16;
  const auto ranks = train(run);
  run.steps = 0;
  const Values weights = expected(run);
  for (const ToyRank& rank : ranks) {
    ASSERT_EQ("", rank.error);
    EXPECT_EQ(std::vector<std::string>(), rank.host->violations);
    EXPECT_TRUE(rank.host->gradients.empty());
    EXPECT_EQ(weights[Toy::kHead], rank.evaluated.back()[Toy::kHead]);
    EXPECT_EQ(weights[Toy::kFrozen], rank.evaluated.back()[Toy::kFrozen]);
    for (const ToyShard& shard : rank.shards) EXPECT_EQ("param", shard.slot);
  }
}

TEST(GeminiPlacement, MovesBytesFromDeviceToHost) {
  std::vector<uint64_t> device, host;
  for (const Fractions& fractions : {Fractions{0, 0}, {0, 0.5}, {0, 1}, {0.5, 1}, {1, 1}}) {
    ToySettings run = gemini(2, fractions.parameters, fractions.optimizer);
    run.precision = ESP_PRECISION_BF16;
    const auto rank = std::move(train(run)[0]);
    device.push_back(taken(rank, ESP_DEVICE));
    host.push_back(taken(rank, ESP_PINNED));
  }
  for (size_t i = 1; i < device.size(); ++i) {
    EXPECT_LT(device[i], device[i - 1]) << "placement " << i;
    EXPECT_GT(host[i], host[0]) << "placement " << i;
  }
  EXPECT_EQ(0u, host[0]);
}

TEST(GeminiPlacement, KeepsNothingButSlotsOnTheDeviceWhenAllIsOffloaded) {
  for (int world : {1, 2}) {
    const auto rank = std::move(train(gemini(world, 1, 1))[0]);
    const auto& tags = rank.host->allocated[ESP_DEVICE];
    for (uint32_t tag : {ESP_TAG_PARAM, ESP_TAG_GRAD, ESP_TAG_OPTIMIZER}) EXPECT_EQ(0u, tags.count(tag)) << tag;
  }
}

TEST(GeminiPlacement, CopiesNothingAloneOnTheDevice) {
  ToySettings run = gemini(1);
  const auto rank = std::move(train(run)[0]);
  for (const char* what : {"copy", "convert", "all_gather", "reduce_scatter", "axpby"}) {
    EXPECT_EQ(0u, times(rank, what)) << what;
  }
  EXPECT_EQ(0u, rank.host->allocated[ESP_DEVICE].count(ESP_TAG_BUCKET)) << "slots that nobody uses";
}

TEST(GeminiPlacement, SendsHalvesBothWays) {
  ToySettings run = gemini(1, 0, 1);
  run.precision = ESP_PRECISION_BF16;
  run.update.master = ESP_F32;
  const auto rank = std::move(train(run)[0]);
  for (const auto& [param, bind] : rank.host->gradients) EXPECT_EQ(ESP_BF16, bind.dtype) << param;
  EXPECT_EQ(0u, times(rank, "axpby"));
  const auto& tags = rank.host->allocated[ESP_PINNED];
  EXPECT_EQ(tags.at(ESP_TAG_GRAD) * 4, tags.at(ESP_TAG_OPTIMIZER)) << "2 bytes of gradient, 8 of master and momentum";
  EXPECT_EQ(tags.at(ESP_TAG_GRAD), tags.at(ESP_TAG_BUCKET)) << "2 bytes of weights on their way";
}

TEST(GeminiPlacement, RefusesParametersOnTheHostWithoutTheirOptimizer) {
  const std::string error = train(gemini(1, 0.5, 0.25))[0].error;
  EXPECT_NE(std::string::npos, error.find("raise optimizer_offload")) << error;
}

TEST(GeminiPlacement, RefusesAStaticPlacementAboveTheBudgetWithTheNumbers) {
  ToySettings run = gemini(2);
  const uint64_t needed = taken(train(run)[0], ESP_DEVICE);
  run.budget_device = needed;
  check(run);
  run.budget_device = needed - 1;
  const std::string error = train(run)[0].error;
  EXPECT_NE(std::string::npos, error.find("takes " + std::to_string(needed))) << error;
  EXPECT_NE(std::string::npos, error.find("budget is " + std::to_string(needed - 1))) << error;
}

// The number behind "the smallest that would do is ".
uint64_t smallest_of(const std::string& error) {
  const std::string words = "the smallest that would do is ";
  const size_t at = error.find(words);
  return at == std::string::npos ? 0 : std::stoull(error.substr(at + words.size()));
}

ToySettings automatic(int world) {
  ToySettings run = gemini(world);
  run.precision = ESP_PRECISION_BF16;
  run.n_micro = 2;
  run.texts["placement"] = "auto";
  return run;
}

uint64_t smallest_budget(ToySettings run) {
  run.budget_device = 1;
  return smallest_of(train(run)[0].error);
}

uint64_t at_once(const ToyRank& rank, uint32_t place) {
  const auto peak = rank.host->peak.find(place);
  return peak == rank.host->peak.end() ? 0 : peak->second;
}

TEST(GeminiAuto, FillsTheBudgetFromTheSmallestOn) {
  for (int world : {1, 2, 3}) {
    ToySettings run = automatic(world);
    const uint64_t whole = taken(train(run)[0], ESP_DEVICE);
    const uint64_t smallest = smallest_budget(run);
    ASSERT_GT(smallest, 0u);
    ASSERT_LT(smallest, whole);
    uint64_t before = 0;
    for (uint64_t budget : {smallest, (smallest + whole) / 2, whole, 4 * whole}) {
      run.budget_device = budget;
      const auto ranks = train(run);
      EXPECT_LE(at_once(ranks[0], ESP_DEVICE), budget) << "on the way, too";
      EXPECT_GE(at_once(ranks[0], ESP_DEVICE), before + (budget == smallest || budget > whole ? 0 : 1));
      EXPECT_EQ(smallest, ranks[0].warmup_peak.at(ESP_DEVICE)) << "until the profile is there";
      before = at_once(ranks[0], ESP_DEVICE);
      check(run);
    }
    run.budget_device = smallest - 1;
    EXPECT_EQ(smallest, smallest_of(train(run)[0].error)) << "the named budget must be the smallest";
  }
}

TEST(GeminiAuto, CopiesNothingInAStepWhenTheDeviceHoldsAll) {
  for (int world : {1, 2, 3}) {
    ToySettings run = automatic(world);
    run.budget_device = 2 * taken(train(run)[0], ESP_DEVICE);
    const auto rank = std::move(train(run)[0]);
    EXPECT_LT(index_of(rank, "copy", rank.adapt_ops[0]), rank.adapt_ops[1]) << "nothing came to the device";
    EXPECT_EQ(rank.host->ops.size(), index_of(rank, "copy", rank.adapt_ops[1]));
  }
}

// Masters, optimizer state and frozen weights, whichever way their chunks go; fp32 masters live at home or not, bf16
// ones never.
TEST(GeminiAuto, MovesEveryValueBitForBit) {
  for (int world : {1, 2, 3}) {
    for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16}) {
      ToySettings run = automatic(world);
      run.precision = precision;
      run.steps = 1;
      const uint64_t smallest = smallest_budget(run), step = 512;
      size_t moved = 0;
      for (uint64_t budget = smallest; budget < smallest + 64 * step; budget += step) {
        run.budget_device = budget;
        const auto ranks = train(run);
        for (const ToyRank& rank : ranks) {
          ASSERT_EQ("", rank.error);
          ASSERT_EQ(rank.shards_before_adapt.size(), rank.shards.size());
          for (size_t i = 0; i < rank.shards.size(); ++i) {
            const ToyShard &was = rank.shards_before_adapt[i], &is = rank.shards[i];
            ASSERT_EQ(std::tie(was.param, was.slot, was.lo, was.hi), std::tie(is.param, is.slot, is.lo, is.hi));
            ASSERT_EQ(was.values, is.values) << "budget " << budget << ", parameter " << is.param << ' ' << is.slot;
            moved += was.data != is.data ? 1 : 0;
          }
        }
      }
      EXPECT_GT(moved, 0u);
    }
  }
}

TEST(GeminiAuto, EqualsTheOracleAtEveryBudget) {
  for (int world : {1, 2, 3}) {
    const uint64_t smallest = smallest_budget(automatic(world)), whole = taken(train(automatic(world))[0], ESP_DEVICE);
    for (ToySettings run : update_variants(automatic(world))) {
      const uint64_t least = smallest_budget(run);
      for (uint64_t part : {0, 1, 2, 3}) {
        run.budget_device = least + (2 * whole - smallest) * part / 3;
        check(run);
      }
    }
  }
}

TEST(GeminiAuto, DecidesAlikeOnAllRanks) {
  ToySettings run = automatic(3);
  run.budget_device = 2 * smallest_budget(run);
  const auto ranks = train(run);
  for (const ToyRank& rank : ranks) {
    EXPECT_EQ(ranks[0].host->peak, rank.host->peak);
    EXPECT_EQ(ranks[0].adapt_ops[1] - ranks[0].adapt_ops[0], rank.adapt_ops[1] - rank.adapt_ops[0]);
  }
}

TEST(GeminiAuto, AdaptsOnlyInTrainingWithinABudget) {
  ToySettings run = automatic(2);
  EXPECT_EQ(0u, train(run)[0].plan.caps & ESP_CAP_ADAPTS);
  run.budget_device = 1 << 20;
  EXPECT_NE(0u, train(run)[0].plan.caps & ESP_CAP_ADAPTS);
  run.mode = ESP_MODE_INFER;
  EXPECT_EQ(0u, train(run)[0].plan.caps & ESP_CAP_ADAPTS);
  ToySettings fixed = gemini(2);
  fixed.budget_device = 1 << 20;
  EXPECT_EQ(0u, train(fixed)[0].plan.caps & ESP_CAP_ADAPTS);
}

TEST(GeminiAuto, LeavesRoomForWhatOthersTake) {
  ToySettings run = automatic(2);
  const uint64_t smallest = smallest_budget(run);
  run.budget_device = 3 * smallest;
  run.other_bytes = smallest;
  const uint64_t held = at_once(train(run)[0], ESP_DEVICE);
  EXPECT_LE(held, 2 * smallest);
  EXPECT_GT(held, smallest);
  run.other_bytes = 2 * smallest + 1;
  const std::string error = train(run)[0].error;
  EXPECT_NE(std::string::npos, error.find("leave " + std::to_string(smallest - 1) + " to the strategy")) << error;
  EXPECT_EQ(smallest, smallest_of(error));
}

TEST(GeminiAuto, TakesAPartOfTheBudget) {
  ToySettings run = automatic(2);
  const uint64_t whole = taken(train(run)[0], ESP_DEVICE);
  run.options["device_budget_fraction"] = real(0.75);
  EXPECT_LE(taken(train(run)[0], ESP_DEVICE), whole * 3 / 4);
  EXPECT_GT(taken(train(run)[0], ESP_PINNED), 0u);
  check(run);
}

TEST(GeminiGathering, EvictsUnderATightBudgetAndNotUnderAWideOne) {
  ToySettings run = gemini(2);
  run.options["prefetch"] = 0;
  const size_t tight = times(train(run)[0], "all_gather");
  run.options["gathered_chunks"] = 100;
  const size_t wide = times(train(run)[0], "all_gather");
  EXPECT_GT(tight, wide);
  const size_t evaluations = 1 + run.steps + run.steps / 2, chunks = 6;  // four units, the frozen matrix, the tied pair
  EXPECT_EQ((run.steps + evaluations) * chunks, wide) << "each chunk once a step";
}

// Three slots; unit 2 needs two. Forward loads all five chunks and drops those of units 0 and 1, which are used last:
// only they come again.
TEST(GeminiGathering, DropsTheChunkWhoseNextUseIsFarthest) {
  ToySettings run = gemini(2);
  run.tied = false;
  run.options["prefetch"] = 0;
  run.options["gathered_chunks"] = 3;
  const size_t evaluations = 1 + run.steps + run.steps / 2;
  EXPECT_EQ(run.steps * 7 + evaluations * 5, times(train(run)[0], "all_gather"));
}

TEST(GeminiGathering, FetchesTheNextUnitWhileOneComputes) {
  for (const bool prefetch : {true, false}) {
    ToySettings run = gemini(2);
    run.options["prefetch"] = prefetch ? 1 : 0;
    const auto rank = std::move(train(run)[0]);
    const size_t step = rank.step_ops[1], second = index_of(rank, "forward 1", step);
    size_t ahead = 0;
    for (size_t i = step; i < second; ++i) {
      if (rank.host->ops[i].what == "all_gather" && rank.host->ops[second].after.count(i) == 0) ++ahead;
    }
    EXPECT_EQ(prefetch, ahead > 0);
  }
}

TEST(GeminiOverlap, UpdatesOnTheCpuWhileBackwardGoesOn) {
  const auto rank = std::move(train(gemini(2, 1, 1))[0]);
  const size_t step = rank.step_ops[1], update = index_of(rank, "apply", step);
  const size_t last = index_of(rank, "backward 0 0", step);
  ASSERT_LT(update, last);
  EXPECT_EQ(0u, rank.host->ops[last].after.count(update)) << "the last backward waits for the first update";
}

TEST(GeminiOverlap, ReducesWhileTheNextUnitWritesItsGradients) {
  ToySettings run = gemini(2);
  run.tied = false;
  const auto rank = std::move(train(run)[0]);
  const size_t reduction = index_of(rank, "reduce_scatter", rank.step_ops[1]);
  const size_t next = index_of(rank, "gradients 2 0", rank.step_ops[1]);
  ASSERT_LT(reduction, next);
  EXPECT_EQ(0u, rank.host->ops[next].after.count(reduction));
}

TEST(GeminiOverlap, WithoutPrefetchHoldsOneGradientAtATime) {
  ToySettings run = gemini(2, 1, 1);
  run.tied = false;
  const uint64_t ahead = train(run)[0].host->allocated[ESP_DEVICE].at(ESP_TAG_BUCKET);
  run.options["prefetch"] = 0;
  const auto rank = std::move(train(run)[0]);
  const size_t reduction = index_of(rank, "reduce_scatter", rank.step_ops[1]);
  const size_t next = index_of(rank, "gradients 2 0", rank.step_ops[1]);
  ASSERT_LT(reduction, next);
  EXPECT_EQ(1u, rank.host->ops[next].after.count(reduction)) << "its room is not free before";
  EXPECT_LT(rank.host->allocated[ESP_DEVICE].at(ESP_TAG_BUCKET), ahead * 3 / 4);
}

TEST(GeminiOverlap, WaitsForTheNormWhereTheUpdateMust) {
  ToySettings run = gemini(2, 0.5, 0.5);
  run.update.flags = ESP_UPDATE_NORM | ESP_UPDATE_BARRIER;
  const auto rank = std::move(train(run)[0]);
  EXPECT_GT(index_of(rank, "apply", rank.step_ops[0]), index_of(rank, "norm_finish", rank.step_ops[0]));
}

enum class Light : uint32_t { kRed, kGreen };

TEST(Lifecycle, NamesTheBlockAndBothStatesOfAnIllegalTransition) {
  esp::kit::Lifecycle<Light> lights("lights", {"red", "green"}, {{Light::kRed, Light::kGreen}}, 4);
  lights.enter(3, Light::kGreen);
  EXPECT_TRUE(lights.is(3, Light::kGreen));
  EXPECT_TRUE(lights.is(2, Light::kRed));
  try {
    lights.enter(3, Light::kRed);
    FAIL() << "went through";
  } catch (const esp::Failure& failure) {
    EXPECT_STREQ("lights of block 3 are green and cannot become red", failure.what());
  }
  lights.reset();
  EXPECT_TRUE(lights.is(3, Light::kRed));
}

}  // namespace
