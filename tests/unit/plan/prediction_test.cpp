// What host plan says is what a run then takes.
#include <gtest/gtest.h>

#include "planned.hpp"
#include "support/run_folder.hpp"

namespace esp::test {
namespace {

struct Case {
  std::string name;
  int ranks;
  std::vector<std::string> flags;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

class Prediction : public ::testing::TestWithParam<Case> {};

TEST_P(Prediction, EqualsWhatTheRunTakesToTheByte) {
  const Scratch scratch;
  std::vector<std::string> flags = GetParam().flags;
  for (const char* flag : {"--train.batch_size=2", "--train.accumulation_steps=2"}) flags.emplace_back(flag);
  flags.push_back("--nproc=" + std::to_string(GetParam().ranks));
  const nlohmann::json plan = planned(flags);

  for (const char* flag : {"--train.max_steps=2", "--train.eval_every=0", "--train.save=false"})
    flags.emplace_back(flag);
  flags.push_back("--out=" + (scratch / "out"));
  const Outcome run = run_host(small_run("run", flags));
  ASSERT_EQ(run.exit_code, 0) << run.describe();
  const nlohmann::json results = read_run(scratch / "out").results;
  const nlohmann::json& measured = results.at("memory_bytes");
  for (const std::string place : {"memory_bytes", "memory_bytes_device", "memory_bytes_pinned"}) {
    EXPECT_EQ(results.at(place + "_predicted"), plan.at(place));
    for (const char* tag : {"parameters", "gradients", "optimizer", "buckets", "input", "other"}) {
      EXPECT_EQ(plan.at(place).at(tag), results.at(place).at(tag)) << place << ' ' << tag;
    }
  }
  EXPECT_GT(measured.at("parameters"), 0);
  EXPECT_GT(measured.at("activations"), 0);
  EXPECT_NE(run.out.find("(predicted "), std::string::npos) << run.describe();
}

TEST(Offload, ShowsByTag) {
  const nlohmann::json here = planned({"--plugin=libzero.so"}),
                       there = planned({"--plugin=libzero.so", "--strategy.offload=optimizer"});
  const nlohmann::json on_device = here.at("memory_bytes_device").at("optimizer");
  EXPECT_EQ(here.at("memory_bytes_pinned").at("optimizer"), 0);
  EXPECT_EQ(there.at("memory_bytes_device").at("optimizer"), 0);
  EXPECT_GE(there.at("memory_bytes_pinned").at("optimizer"), on_device);
}

INSTANTIATE_TEST_SUITE_P(
    Of, Prediction,
    ::testing::Values(
        Case{"DdpAlone", 1, {"--plugin=libddp.so"}}, Case{"DdpOnTwoRanks", 2, {"--plugin=libddp.so"}},
        Case{"DdpOnFourRanks", 4, {"--plugin=libddp.so"}}, Case{"DdpFp16OnTwoRanks", 2, {"--plugin=libddp_fp16.so"}},
        Case{"DdpWithFrozenParameters",
             1,
             {"--plugin=libddp.so", "--model.freeze=vit.encoder.layer.0.*", "--optimizer.name=sgd"}},
        Case{"ZeroStage1", 3, {"--plugin=libzero.so", "--strategy.stage=1", "--train.clip_norm=1"}},
        Case{"ZeroStage2", 3, {"--plugin=libzero.so", "--strategy.stage=2"}},
        Case{"ZeroWithOptimizerOnTheHost", 2, {"--plugin=libzero.so", "--strategy.offload=optimizer"}},
        Case{
            "GeminiThatAdaptsAlone", 1, {"--plugin=libgemini.so", "--strategy.placement=auto", "--device_budget=2MiB"}},
        Case{"GeminiThatAdaptsOnThreeRanks",
             3,
             {"--plugin=libgemini.so", "--strategy.placement=auto", "--device_budget=1250KiB"}},
        Case{"GeminiThatAdaptsWithinAPart",
             2,
             {"--plugin=libgemini.so", "--strategy.placement=auto", "--device_budget=3MiB",
              "--strategy.device_budget_fraction=0.3", "--train.precision=bf16"}},
        Case{"ZeroStage3InBf16", 2, {"--plugin=libzero.so", "--strategy.stage=3", "--train.precision=bf16"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace esp::test
