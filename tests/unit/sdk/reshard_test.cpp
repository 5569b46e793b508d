// State crosses world sizes and strategies: what one run lists another is filled with, and goes on as if nothing had
// been.
#include <gtest/gtest.h>

#include <cstring>
#include <ostream>

#include "sharded_run.hpp"

namespace {

uint64_t real(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

struct Strategy {
  const char* name;
  const char* library;
  std::map<std::string, uint64_t> options;
  std::map<std::string, const char*> texts;
  bool replicated, reduces_each_micro;
};
std::ostream& operator<<(std::ostream& out, const Strategy& one) { return out << one.name; }

const Strategy kStrategies[] = {
    {"Ddp", ESPALIER_DDP, {}, {}, true, false},
    {"Zero1", ESPALIER_ZERO, {{"stage", 1}}, {}, false, false},
    {"Zero3Offloaded", ESPALIER_ZERO, {{"stage", 3}}, {{"offload", "optimizer"}}, false, true},
    {"Gemini", ESPALIER_GEMINI, {{"parameter_offload", real(0.5)}, {"optimizer_offload", real(0.75)}}, {}, false, true},
};

ToySettings settings_of(const Strategy& strategy, int world) {
  ToySettings settings;
  settings.library = strategy.library;
  settings.options = strategy.options;
  settings.texts = strategy.texts;
  settings.world = world;
  settings.n_micro = 2;
  settings.steps = 2;
  settings.precision = ESP_PRECISION_BF16;
  settings.update.flags = ESP_UPDATE_NORM;
  return settings;
}

std::map<std::string, Values> saved(const Strategy& strategy, const ToySettings& settings) {
  auto ranks = train(settings);
  if (strategy.replicated) {
    for (size_t r = 1; r < ranks.size(); ++r) {
      for (size_t s = 0; s < ranks[0].shards_again.size(); ++s) {
        EXPECT_EQ(ranks[0].shards_again[s].values, ranks[r].shards_again[s].values) << "replicas differ";
      }
    }
    ranks.resize(1);
    for (ToyShard& shard : ranks[0].shards_again) shard.flags = 0;
  }
  return {{"param", assembled(ranks, "param")}, {"momentum", assembled(ranks, "momentum")}};
}

using Pair = std::tuple<Strategy, Strategy>;
class Reshard : public ::testing::TestWithParam<Pair> {};
INSTANTIATE_TEST_SUITE_P(FromAndTo, Reshard,
                         ::testing::Combine(::testing::ValuesIn(kStrategies), ::testing::ValuesIn(kStrategies)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + std::string("To") + std::get<1>(info.param).name;
                         });

TEST_P(Reshard, GoesOnAsTheOracleDoes) {
  const auto& [from, to] = GetParam();
  for (const auto& [before, behind] : {std::pair{1, 3}, {3, 2}, {2, 2}, {2, 1}}) {
    SCOPED_TRACE(std::to_string(before) + " ranks, then " + std::to_string(behind));
    ToySettings run = settings_of(to, behind);
    run.loaded = saved(from, settings_of(from, before));
    // A rank alone accumulates like a replica in every stage of zero.
    const bool each = to.reduces_each_micro && (behind > 1 || to.library == std::string(ESPALIER_GEMINI));
    const Addition addition = each ? Addition::kRanksThenMicros : Addition::kMicrosThenRanks;
    for (const ToyRank& rank : train(run)) {
      ASSERT_EQ("", rank.error);
      for (uint32_t steps : {0u, 2u}) {
        ToySettings part = run;
        part.steps = steps;
        const Values expected = oracle(part, 0, addition);
        for (uint32_t param = 0; param < Toy::kParams; ++param) {
          if (rank.evaluated[steps][param].empty()) continue;  // no unit uses it
          ASSERT_EQ(expected[param], rank.evaluated[steps][param]) << "parameter " << param << " behind step " << steps;
        }
      }
    }
  }
}

}  // namespace
