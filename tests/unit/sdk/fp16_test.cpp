// Loss scaling: the strategies in fp16, with the runtime's scaler, against an oracle that overflows where they do.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ostream>

#include "sharded_run.hpp"

namespace {

struct Case {
  const char* name;
  const char* library;
  std::map<std::string, uint64_t> options;
  std::map<std::string, const char*> texts;
  bool reduces_each_micro;  // on several ranks
  bool alone_too;
};
std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

uint64_t real(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

const Case kCases[] = {
    {"DdpFp16", ESPALIER_DDP_FP16, {}, {}, false, false},
    {"Zero1", ESPALIER_ZERO, {{"stage", 1}}, {}, false, false},
    {"Zero1Offloaded", ESPALIER_ZERO, {{"stage", 1}}, {{"offload", "optimizer"}}, false, false},
    {"Zero2", ESPALIER_ZERO, {{"stage", 2}}, {}, true, false},
    {"Zero3", ESPALIER_ZERO, {{"stage", 3}}, {}, true, false},
    {"Zero3Offloaded", ESPALIER_ZERO, {{"stage", 3}}, {{"offload", "optimizer"}}, true, false},
    {"Gemini", ESPALIER_GEMINI, {}, {}, true, true},
    {"GeminiMixed",
     ESPALIER_GEMINI,
     {{"parameter_offload", real(0.5)}, {"optimizer_offload", real(0.75)}},
     {},
     true,
     true},
};

ToySettings fp16(const Case& one, int world, uint32_t n_micro, double clip_norm) {
  ToySettings settings;
  settings.library = one.library;
  settings.options = one.options;
  settings.texts = one.texts;
  settings.world = world;
  settings.n_micro = n_micro;
  settings.precision = ESP_PRECISION_FP16;
  settings.update.flags = ESP_UPDATE_NORM | ESP_UPDATE_BARRIER;
  settings.update.clip_norm = clip_norm;
  return settings;
}

// Bit for bit: what each rank computes with behind each step, and each step's scale. Returns the oracle's steps.
std::vector<OracleStep> check(const Case& one, const ToySettings& settings) {
  SCOPED_TRACE("world " + std::to_string(settings.world) + ", micro-batches " + std::to_string(settings.n_micro) +
               ", clip " + std::to_string(settings.update.clip_norm));
  const bool each = one.reduces_each_micro && (settings.world > 1 || one.alone_too);
  const Addition addition = each ? Addition::kRanksThenMicros : Addition::kMicrosThenRanks;
  const auto ranks = train(settings);
  std::vector<OracleStep> steps;
  oracle(settings, 0, addition, ranks[0].plan, &steps);
  for (uint32_t done = 0; done <= settings.steps; ++done) {
    ToySettings part = settings;
    part.steps = done;
    const Values expected = oracle(part, 0, addition, ranks[0].plan);
    for (const ToyRank& rank : ranks) {
      for (uint32_t param = 0; param < Toy::kParams; ++param) {
        const std::vector<float>& seen = rank.evaluated.at(done)[param];
        if (seen.empty()) continue;  // no unit uses it
        EXPECT_EQ(expected[param], seen) << "parameter " << param << " behind step " << done;
      }
    }
  }
  uint64_t applied = 0;
  for (uint32_t step = 0; step < settings.steps; ++step) {
    if (!steps[step].skipped) ++applied;
    for (const ToyRank& rank : ranks) {
      EXPECT_EQ("", rank.error);
      EXPECT_EQ(std::vector<std::string>(), rank.host->violations);
      const esp::runtime::UpdateResult& seen = rank.host->updates.at(step);
      EXPECT_EQ(steps[step].loss_scale, seen.loss_scale) << "step " << step;
      EXPECT_EQ(steps[step].skipped, seen.skipped) << "step " << step;
      EXPECT_EQ(applied, seen.applied_steps) << "step " << step;
      if (seen.skipped) continue;
      EXPECT_NEAR(steps[step].grad_norm, seen.grad_norm, 1e-9 * seen.grad_norm) << "step " << step;
    }
  }
  return steps;
}

// The scales and skips in one line: "65536 65536! 32768": ! is a skipped step.
std::string text_of(const std::vector<OracleStep>& steps) {
  std::string text;
  for (const OracleStep& step : steps) {
    if (!text.empty()) text += " ";
    text += std::to_string(static_cast<int64_t>(step.loss_scale)) + (step.skipped ? "!" : "");
  }
  return text;
}

class Fp16 : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Of, Fp16, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

// The scale starts far too high: gradients overflow by themselves, on whichever rank and in whichever partial sum.
TEST_P(Fp16, FindsItsScaleWithAccumulationAndClipping) {
  for (int world : {1, 2, 3}) {
    for (uint32_t n_micro : {1u, 3u}) {
      for (double clip_norm : {0.0, 0.5}) {
        ToySettings settings = fp16(GetParam(), world, n_micro, clip_norm);
        settings.steps = 9;
        settings.options["initial_scale_power"] = 18;
        settings.options["loss_scale_window"] = 2;
        const std::vector<OracleStep> steps = check(GetParam(), settings);
        EXPECT_TRUE(steps[0].skipped && steps[1].skipped) << text_of(steps);
        EXPECT_GT(steps.back().grad_norm, clip_norm) << "clipping changes nothing";
        EXPECT_GE(std::count_if(steps.begin(), steps.end(), [](const auto& step) { return !step.skipped; }), 3)
            << text_of(steps);
      }
    }
  }
}

// One rank alone overflows, be it one that owns nothing of the parameter.
TEST_P(Fp16, SkipsAStepOnAllRanksWhenOneOverflowsAndOnlyThen) {
  ToySettings settings = fp16(GetParam(), 3, 2, 0);
  settings.steps = 12;
  settings.options["initial_scale_power"] = 10;
  settings.options["loss_scale_window"] = 3;
  settings.options["hysteresis"] = 2;
  settings.options["min_loss_scale"] = real(256);
  settings.overflows = {{1, 0}, {2, 2}, {3, 1}, {4, 1}, {8, 2}};
  // The first overflow is forgiven, those behind it halve down to the floor; three good steps double and forgive.
  EXPECT_EQ("1024 1024! 1024! 512! 256! 256 256 256 512! 512 512 512", text_of(check(GetParam(), settings)));
}

TEST_P(Fp16, HalvesAtEachOverflowWithoutHysteresis) {
  ToySettings settings = fp16(GetParam(), 2, 1, 0.5);
  settings.steps = 6;
  settings.options["initial_scale_power"] = 10;
  settings.options["loss_scale_window"] = 2;
  settings.options["hysteresis"] = 1;
  settings.overflows = {{0, 1}, {1, 0}, {4, 1}};
  EXPECT_EQ("1024! 512! 256 256 512! 256", text_of(check(GetParam(), settings)));
}

TEST_P(Fp16, ReplaysStepsThatOverflowAndStepsThatDoNot) {
  ToySettings settings = fp16(GetParam(), 2, 2, 0.5);
  settings.steps = 10;
  settings.capture = true;
  settings.options["initial_scale_power"] = 10;
  settings.options["loss_scale_window"] = 2;
  settings.overflows = {{3, 1}, {4, 0}, {6, 1}};
  EXPECT_EQ("1024 1024 2048 2048! 2048! 1024 1024! 512 512 1024", text_of(check(GetParam(), settings)));
}

TEST(DdpFp16, ComputesInFp16UnlessAsked) {
  ToySettings settings = fp16(kCases[0], 2, 1, 0);
  settings.precision = ESP_PRECISION_DEFAULT;
  const auto ranks = train(settings);
  EXPECT_EQ(ESP_F16, ranks[0].plan.compute_t);
  EXPECT_EQ(ESP_F16, ranks[0].plan.grad_t);
  settings.precision = ESP_PRECISION_FP16;
  EXPECT_EQ(train(settings)[0].weights, ranks[0].weights);
}

}  // namespace
