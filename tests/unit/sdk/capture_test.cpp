// Steps that are captured and replayed: no hook runs, and yet each step is right.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <ostream>

#include "toy_run.hpp"

namespace {

struct Case {
  const char* name;
  const char* library;
  std::map<std::string, uint64_t> options;
  std::map<std::string, const char*> texts;
  Addition addition = Addition::kRanksThenMicros;
  uint32_t period = 0;  // of averages of weights
  uint64_t budget = 0;  // of device memory
};
std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

uint64_t real(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

const Case kZero1 = {"Zero1", ESPALIER_ZERO, {{"stage", 1}}, {}, Addition::kMicrosThenRanks};
const Case kLocalSgd = {"LocalSgd", ESPALIER_LOCAL_SGD, {{"period", 3}}, {}, Addition::kMicrosThenRanks, 3};
const Case kCases[] = {
    {"Ddp", ESPALIER_DDP, {}, {}, Addition::kMicrosThenRanks},
    kZero1,
    {"Zero1Offloaded", ESPALIER_ZERO, {{"stage", 1}}, {{"offload", "optimizer"}}, Addition::kMicrosThenRanks},
    {"Zero2", ESPALIER_ZERO, {{"stage", 2}}, {}},
    {"Zero3", ESPALIER_ZERO, {{"stage", 3}}, {}},
    {"Zero3Offloaded", ESPALIER_ZERO, {{"stage", 3}}, {{"offload", "optimizer"}}},
    {"Gemini", ESPALIER_GEMINI, {}, {}},
    {"GeminiMixed", ESPALIER_GEMINI, {{"parameter_offload", real(0.5)}, {"optimizer_offload", real(0.75)}}, {}},
    {"GeminiOnTheHost", ESPALIER_GEMINI, {{"parameter_offload", real(1)}, {"optimizer_offload", real(1)}}, {}},
    {"GeminiThatAdapts", ESPALIER_GEMINI, {}, {{"placement", "auto"}}, Addition::kRanksThenMicros, 0, 24000},
    kLocalSgd,
};

ToySettings captured(const Case& one, uint32_t evaluate_every) {
  ToySettings settings;
  settings.library = one.library;
  settings.options = one.options;
  settings.texts = one.texts;
  settings.world = 2;
  settings.n_micro = 2;
  settings.steps = 12;
  settings.update.flags = ESP_UPDATE_NORM;
  settings.evaluate_every = evaluate_every;
  settings.capture = true;
  settings.budget_device = one.budget;
  return settings;
}

// Whether each evaluation of each rank saw the oracle's weights. With averages of weights: of the first rank.
bool is_right(const Case& one, const ToySettings& settings, const std::vector<ToyRank>& ranks) {
  for (const ToyRank& rank : ranks) {
    EXPECT_EQ("", rank.error);
    for (size_t e = 0; e < rank.evaluated.size(); ++e) {
      ToySettings part = settings;
      part.steps = static_cast<uint32_t>(e) * settings.evaluate_every;
      const Values expected = oracle(part, one.period, one.addition);
      for (uint32_t param = 0; param < Toy::kParams; ++param) {
        const std::vector<float>& seen = rank.evaluated[e][param];
        if (!seen.empty() && seen != expected[param]) return false;
      }
    }
    if (one.period != 0) break;
  }
  return true;
}

class Capture : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Of, Capture, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(Capture, ReplayedStepsEqualTheOracleWithAndWithoutEvaluationsBetweenThem) {
  for (uint32_t evaluate_every : {1u, 2u, 3u, 12u}) {
    const ToySettings settings = captured(GetParam(), evaluate_every);
    const auto ranks = train(settings);
    EXPECT_TRUE(is_right(GetParam(), settings, ranks)) << "evaluated every " << evaluate_every << " steps";
    EXPECT_EQ(std::vector<std::string>(), ranks[0].host->violations);
    EXPECT_GT(ranks[0].replays, 4u);
  }
}

// A note that a hook takes (here: that weights are stale behind a step, and which step averages) is missing when no
// hook runs. Eager steps are right.
void expect_wrong_when_captured(const Case& one) {
  ToySettings settings = captured(one, 1);
  settings.mistake = Mistake::kNotedInHook;
  EXPECT_FALSE(is_right(one, settings, train(settings)));
  settings.capture = false;
  EXPECT_TRUE(is_right(one, settings, train(settings)));
}

TEST(CaptureMistakes, AStaleNoteIsNoticedByAnEvaluationBetweenCapturedSteps) { expect_wrong_when_captured(kZero1); }

TEST(CaptureMistakes, AValueOfTheStepThatAHookBakesInIsNoticed) { expect_wrong_when_captured(kLocalSgd); }

TEST(CaptureMistakes, ACollectiveThatTheNextStepWaitsForIsNoticed) {
  const Case late = {"LateAverage", ESPALIER_LATE_AVERAGE, {}, {}, Addition::kMicrosThenRanks, 1};
  for (bool capture : {false, true}) {
    ToySettings settings = captured(late, 3);
    settings.capture = capture;
    const auto ranks = train(settings);
    EXPECT_TRUE(is_right(late, settings, ranks)) << "the numbers do not tell";
    const auto& seen = ranks[0].host->violations;
    EXPECT_NE(seen.end(), std::find(seen.begin(), seen.end(), "event of an earlier step"));
  }
}

}  // namespace
