// Each mistake of a strategy is noticed by the means that the tests of sound strategies rely on.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ostream>

#include "sharded_run.hpp"

namespace {

uint64_t real(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// What mistakes need in order to show: bf16 with a norm to wait for; the same in fp16 where one rank overflows; or with
// gradients that are clipped.
enum class Setting { kUsual, kOverflow, kClipped };

enum class Kind { kDdp, kZero1, kZero2, kZero3, kOffload, kGemini };

ToySettings sound(Kind kind, Setting setting) {
  ToySettings settings;
  settings.library = kind == Kind::kDdp ? ESPALIER_DDP : kind == Kind::kGemini ? ESPALIER_GEMINI : ESPALIER_ZERO;
  settings.world = 2;
  settings.n_micro = 2;
  settings.precision = ESP_PRECISION_BF16;
  settings.update.flags = ESP_UPDATE_NORM | ESP_UPDATE_BARRIER;
  if (setting == Setting::kClipped) settings.update.clip_norm = 0.5;
  if (setting == Setting::kOverflow) {
    settings.precision = ESP_PRECISION_FP16;
    settings.overflows = {{1, 1}};
    settings.options["initial_scale_power"] = 8;
    if (kind == Kind::kDdp) settings.library = ESPALIER_DDP_FP16;
  }
  if (kind == Kind::kZero1) settings.options["stage"] = 1;
  if (kind == Kind::kZero2) settings.options["stage"] = 2;
  if (kind == Kind::kZero3 || kind == Kind::kOffload) settings.options["stage"] = 3;
  if (kind == Kind::kOffload) settings.texts["offload"] = "optimizer";
  if (kind == Kind::kGemini) settings.options["parameter_offload"] = settings.options["optimizer_offload"] = real(0.5);
  return settings;
}

Values expected(Kind kind, const ToySettings& settings, const esp_plan& plan, std::vector<OracleStep>* steps) {
  const bool whole = kind == Kind::kDdp || kind == Kind::kZero1;
  return oracle(settings, 0, whole ? Addition::kMicrosThenRanks : Addition::kRanksThenMicros, plan, steps);
}

// What there is to see of a run: the host's complaints; "values" when what a rank computes with is not the oracle's;
// "coverage" when the ranks' shards are not each element once; "norm" and "skips" when a step had others than the
// oracle's.
std::vector<std::string> complaints(Kind kind, ToySettings settings) {
  std::vector<std::string> out;
  const auto ranks = train(settings);
  ToySettings none = settings;
  none.steps = 0;
  std::vector<OracleStep> steps;
  const Values before = expected(kind, none, ranks[0].plan, nullptr);
  const Values behind = expected(kind, settings, ranks[0].plan, &steps);
  std::map<std::pair<uint32_t, uint64_t>, int> listed;
  uint64_t elements = 0;
  for (const ToyRank& rank : ranks) {
    if (!rank.error.empty()) out.push_back(rank.error);
    out.insert(out.end(), rank.host->violations.begin(), rank.host->violations.end());
    for (uint32_t param = 0; rank.error.empty() && param < Toy::kParams; ++param) {
      const auto differs = [&](const Values& seen, const Values& wanted) {
        return !seen[param].empty() && seen[param] != wanted[param];
      };
      if (differs(rank.evaluated.front(), before) || differs(rank.evaluated.back(), behind)) out.push_back("values");
    }
    for (size_t step = 0; rank.error.empty() && step < steps.size(); ++step) {
      const esp::runtime::UpdateResult& seen = rank.host->updates[step];
      if (seen.skipped != steps[step].skipped) out.push_back("skips");
      const double gap = std::fabs(seen.grad_norm - steps[step].grad_norm);
      if (!steps[step].skipped && !(gap <= 1e-9 * steps[step].grad_norm)) out.push_back("norm");
    }
    for (const ToyShard& shard : rank.shards_again) {
      if (shard.slot != "param") continue;
      for (uint64_t i = shard.lo; i < shard.hi; ++i) ++listed[{shard.param, i}];
    }
  }
  const Toy toy(1, true);
  for (uint32_t param = 0; param < Toy::kParams; ++param) elements += toy.view().params[param]->numel;
  const int copies = kind == Kind::kDdp ? settings.world : 1;
  const bool once = std::all_of(listed.begin(), listed.end(), [&](const auto& e) { return e.second == copies; });
  if (listed.size() != elements || !once) out.push_back("coverage");
  return out;
}

struct Case {
  const char* name;
  Kind kind;
  Mistake mistake;
  const char* noticed_by;  // part of a complaint
  Setting setting = Setting::kUsual;
};
std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

class PlantedMistake : public ::testing::TestWithParam<Case> {};

TEST_P(PlantedMistake, IsNoticed) {
  const Case& planted = GetParam();
  ToySettings settings = sound(planted.kind, planted.setting);
  ASSERT_EQ(std::vector<std::string>(), complaints(planted.kind, settings)) << "without the mistake";
  settings.mistake = planted.mistake;
  const std::vector<std::string> seen = complaints(planted.kind, settings);
  const bool noticed = std::any_of(seen.begin(), seen.end(), [&](const std::string& complaint) {
    return complaint.find(planted.noticed_by) != std::string::npos;
  });
  EXPECT_TRUE(noticed) << "noticed instead: " << ::testing::PrintToString(seen);
}

const Case kCases[] = {
    {"NoWaitForGradients_Ddp", Kind::kDdp, Mistake::kNoWaitForGradients, "all_reduce may run before gradients"},
    {"NoWaitForGradients_Zero1", Kind::kZero1, Mistake::kNoWaitForGradients, "reduce_scatter may run before gradients"},
    {"NoWaitForGradients_Zero3", Kind::kZero3, Mistake::kNoWaitForGradients, "reduce_scatter may run before gradients"},
    {"NoWaitForGradients_Gemini", Kind::kGemini, Mistake::kNoWaitForGradients,
     "reduce_scatter may run before gradients"},
    {"NoWaitForModel_Ddp", Kind::kDdp, Mistake::kNoWaitForModel, "apply may run before"},
    {"NoWaitForModel_Zero1", Kind::kZero1, Mistake::kNoWaitForModel, "apply may run before"},
    {"NoWaitForGathered_Zero1", Kind::kZero1, Mistake::kNoWaitForGathered, "forward 0 may run before all_gather"},
    {"NoWaitForGathered_Zero3", Kind::kZero3, Mistake::kNoWaitForGathered, "forward 0 may run before all_gather"},
    {"NoWaitForGathered_Gemini", Kind::kGemini, Mistake::kNoWaitForGathered, "forward 0 may run before all_gather"},
    {"SlotReusedEarly_Zero2", Kind::kZero2, Mistake::kNoWaitForGathered, "may run before reduce_scatter"},
    {"SlotReusedEarly_Gemini", Kind::kGemini, Mistake::kNoWaitForGathered, "may run before reduce_scatter"},
    {"NoWaitForCopyToHost_Offload", Kind::kOffload, Mistake::kNoWaitForCopyToHost, "apply may run before copy"},
    {"NoWaitForCopyToHost_Gemini", Kind::kGemini, Mistake::kNoWaitForCopyToHost, "may run before copy"},
    {"NoWaitForCpuUpdate_Offload", Kind::kOffload, Mistake::kNoWaitForCpuUpdate, "copy may run before apply"},
    {"NoWaitForCpuUpdate_Gemini", Kind::kGemini, Mistake::kNoWaitForCpuUpdate, "copy may run before convert"},
    {"SlotReleasedOnTheWrongStream_Zero2", Kind::kZero2, Mistake::kReleasedOnCompute, "may run before reduce_scatter"},
    {"SlotReleasedOnTheWrongStream_Gemini", Kind::kGemini, Mistake::kReleasedOnCompute,
     "may run before reduce_scatter"},
    {"WaitsAcrossSteps_Ddp", Kind::kDdp, Mistake::kWaitsAcrossSteps, "event of an earlier step"},
    {"WaitsAcrossSteps_Zero3", Kind::kZero3, Mistake::kWaitsAcrossSteps, "event of an earlier step"},
    {"WaitsAcrossSteps_Gemini", Kind::kGemini, Mistake::kWaitsAcrossSteps, "event of an earlier step"},
    {"SumForMean_Ddp", Kind::kDdp, Mistake::kSumForMean, "values"},
    {"SumForMean_Zero1", Kind::kZero1, Mistake::kSumForMean, "values"},
    {"SumForMean_Zero2", Kind::kZero2, Mistake::kSumForMean, "values"},
    {"SumForMean_Gemini", Kind::kGemini, Mistake::kSumForMean, "values"},
    {"RankDropped_Ddp", Kind::kDdp, Mistake::kRankDropped, "values"},
    {"RankDropped_Zero3", Kind::kZero3, Mistake::kRankDropped, "values"},
    {"RankDropped_Gemini", Kind::kGemini, Mistake::kRankDropped, "values"},
    {"BarrierIgnored_Ddp", Kind::kDdp, Mistake::kBarrierIgnored, "apply before norm_finish"},
    {"BarrierIgnored_Zero1", Kind::kZero1, Mistake::kBarrierIgnored, "apply before norm_finish"},
    {"BarrierIgnored_Offload", Kind::kOffload, Mistake::kBarrierIgnored, "apply before norm_finish"},
    {"BarrierIgnored_Gemini", Kind::kGemini, Mistake::kBarrierIgnored, "apply before norm_finish"},
    {"LocalNorm_Zero1", Kind::kZero1, Mistake::kLocalNorm, "norm of a part"},
    {"LocalNorm_Zero3", Kind::kZero3, Mistake::kLocalNorm, "norm of a part"},
    {"LocalNorm_Gemini", Kind::kGemini, Mistake::kLocalNorm, "norm of a part"},
    {"ClippedByTheLocalNorm_Zero1", Kind::kZero1, Mistake::kLocalNorm, "values", Setting::kClipped},
    {"ClippedByTheLocalNorm_Zero2", Kind::kZero2, Mistake::kLocalNorm, "values", Setting::kClipped},
    {"ClippedByTheLocalNorm_Zero3", Kind::kZero3, Mistake::kLocalNorm, "values", Setting::kClipped},
    {"ClippedByTheLocalNorm_Offload", Kind::kOffload, Mistake::kLocalNorm, "values", Setting::kClipped},
    {"ClippedByTheLocalNorm_Gemini", Kind::kGemini, Mistake::kLocalNorm, "values", Setting::kClipped},
    {"NoVoteOnOverflow_Zero1", Kind::kZero1, Mistake::kLocalNorm, "skips", Setting::kOverflow},
    {"NoVoteOnOverflow_Zero2", Kind::kZero2, Mistake::kLocalNorm, "skips", Setting::kOverflow},
    {"NoVoteOnOverflow_Zero3", Kind::kZero3, Mistake::kLocalNorm, "skips", Setting::kOverflow},
    {"NoVoteOnOverflow_Offload", Kind::kOffload, Mistake::kLocalNorm, "skips", Setting::kOverflow},
    {"NoVoteOnOverflow_Gemini", Kind::kGemini, Mistake::kLocalNorm, "skips", Setting::kOverflow},
    {"OverflowIgnored_Ddp", Kind::kDdp, Mistake::kBarrierIgnored, "apply before norm_finish", Setting::kOverflow},
    {"NormFinishedEarly_Ddp", Kind::kDdp, Mistake::kNormFinishedEarly, "norm"},
    {"NormFinishedEarly_Zero1", Kind::kZero1, Mistake::kNormFinishedEarly, "norm"},
    {"NormFinishedEarly_Offload", Kind::kOffload, Mistake::kNormFinishedEarly, "norm"},
    {"NormFinishedEarly_Gemini", Kind::kGemini, Mistake::kNormFinishedEarly, "norm"},
    {"SumForMeanInTheNorm_Ddp", Kind::kDdp, Mistake::kSumForMean, "norm", Setting::kClipped},
    {"SumForMeanInTheNorm_Zero3", Kind::kZero3, Mistake::kSumForMean, "norm", Setting::kClipped},
    {"SumForMeanInTheNorm_Gemini", Kind::kGemini, Mistake::kSumForMean, "norm", Setting::kClipped},
    {"AccumulationOverwrites_Zero2", Kind::kZero2, Mistake::kAccumulationOverwrites, "values"},
    {"AccumulationOverwrites_Zero3", Kind::kZero3, Mistake::kAccumulationOverwrites, "values"},
    {"AccumulationOverwrites_Gemini", Kind::kGemini, Mistake::kAccumulationOverwrites, "values"},
    {"ArmedOnce_Zero2", Kind::kZero2, Mistake::kArmedOnce, "values"},
    {"ArmedOnce_Gemini", Kind::kGemini, Mistake::kArmedOnce, "values"},
    {"UnusedNotWritten_Zero2", Kind::kZero2, Mistake::kUnusedNotWritten, "values"},
    {"UnusedNotWritten_Gemini", Kind::kGemini, Mistake::kUnusedNotWritten, "values"},
    {"TiedReducedEarly_Ddp", Kind::kDdp, Mistake::kTiedReducedEarly, "values"},
    {"TiedReducedEarly_Zero1", Kind::kZero1, Mistake::kTiedReducedEarly, "values"},
    {"TiedReducedEarly_Zero2", Kind::kZero2, Mistake::kTiedReducedEarly, "values"},
    {"TiedReducedEarly_Zero3", Kind::kZero3, Mistake::kTiedReducedEarly, "is not bound"},
    {"TiedReducedEarly_Gemini", Kind::kGemini, Mistake::kTiedReducedEarly, "is not bound"},
    {"StaleAfterLoad_Ddp", Kind::kDdp, Mistake::kStaleAfterLoad, "values"},
    {"StaleAfterLoad_Zero1", Kind::kZero1, Mistake::kStaleAfterLoad, "values"},
    {"StaleAfterLoad_Zero3", Kind::kZero3, Mistake::kStaleAfterLoad, "values"},
    {"StaleAfterLoad_Gemini", Kind::kGemini, Mistake::kStaleAfterLoad, "values"},
    {"StaleAfterUpdate_Ddp", Kind::kDdp, Mistake::kStaleAfterUpdate, "values"},
    {"StaleAfterUpdate_Zero3", Kind::kZero3, Mistake::kStaleAfterUpdate, "values"},
    {"StaleAfterUpdate_Gemini", Kind::kGemini, Mistake::kStaleAfterUpdate, "values"},
    {"OtherRanksPart_Zero1", Kind::kZero1, Mistake::kOtherRanksPart, "in place at another rank's part"},
    {"OtherRanksPart_Zero2", Kind::kZero2, Mistake::kOtherRanksPart, "values"},
    {"OtherRanksPart_Gemini", Kind::kGemini, Mistake::kOtherRanksPart, "values"},
    {"OffsetDropped_Zero1", Kind::kZero1, Mistake::kOffsetDropped, "coverage"},
    {"OffsetDropped_Zero3", Kind::kZero3, Mistake::kOffsetDropped, "coverage"},
    {"OffsetDropped_Gemini", Kind::kGemini, Mistake::kOffsetDropped, "coverage"},
};
INSTANTIATE_TEST_SUITE_P(Of, PlantedMistake, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
