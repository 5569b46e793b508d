#include "bench/expand.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "error.hpp"

namespace esp::bench {
namespace {

std::vector<SweepCase> cases_of(const std::string& toml, const Settings& flags = {}) {
  const SweepDocument document = parse_sweep(toml, "s.toml", "/base");
  return expand(document, flags, read_bench_options(document.base));
}

std::vector<std::string> labels(const std::string& toml) {
  std::vector<std::string> all;
  for (const SweepCase& one : cases_of(toml)) all.push_back(one.label());
  return all;
}

std::string message(const std::string& toml, const Settings& flags = {}) {
  try {
    cases_of(toml, flags);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "accepted";
}

int64_t integer(const SweepCase& one, const std::string& key) { return std::get<int64_t>(one.settings.at(key).value); }

using Labels = std::vector<std::string>;

TEST(Expand, MakesTheProductInTheOrderOfTheFileWithTheLastListFastest) {
  EXPECT_EQ(labels("[sweep]\n\"train.batch_size\" = [8, 32]\n\"run.plugin\" = [\"b.so\", \"a.so\"]"),
            (Labels{"batch_size 8, b.so", "batch_size 8, a.so", "batch_size 32, b.so", "batch_size 32, a.so"}));
}

TEST(Expand, CrossesCasesWithLists) {
  const auto cases = cases_of(
      "[sweep]\ntrain.batch_size = [8, 32]\n"
      "[[sweep.case]]\n\"run.plugin\" = \"libzero.so\"\n\"strategy.stage\" = 3\n"
      "[[sweep.case]]\nrun.plugin = \"libddp.so\"");
  ASSERT_EQ(cases.size(), 4u);
  EXPECT_EQ(cases[1].label(), "libzero.so, stage 3, batch_size 32");
  EXPECT_EQ(integer(cases[1], "strategy.stage"), 3);
  EXPECT_FALSE(cases[2].settings.contains("strategy.stage"));
}

TEST(Expand, SweepsListsAsValues) {
  const auto cases = cases_of("[sweep]\n\"optimizer.betas\" = [[0.9, 0.99], [0.8, 0.9]]");
  ASSERT_EQ(cases.size(), 2u);
  EXPECT_EQ(cases[1].label(), "betas [0.8, 0.9]");
}

TEST(Expand, GivesRunsTheirLengthAndSavesNothing) {
  const auto cases =
      cases_of("[train]\nmax_steps = 7\nepochs = 2\n[bench]\nsteps = 20\nwarmup = 4\n[sweep]\nrun.seed = [1]");
  EXPECT_EQ(integer(cases[0], "train.max_steps"), 24);
  EXPECT_EQ(integer(cases[0], "train.profile_steps"), 5);
  EXPECT_FALSE(std::get<bool>(cases[0].settings.at("train.save").value));
  EXPECT_EQ(integer(cases[0], "train.eval_every"), 0);
  EXPECT_FALSE(cases[0].settings.contains("bench.steps"));
}

TEST(Expand, EvaluatesAndSavesWhenAskedTo) {
  const auto cases = cases_of("[train]\neval_every = 1\nsave = true\n[sweep]\nrun.seed = [1]");
  EXPECT_EQ(integer(cases[0], "train.eval_every"), 1);
  EXPECT_TRUE(std::get<bool>(cases[0].settings.at("train.save").value));
}

TEST(Expand, RunsTwentyStepsWithoutWarmUpAsTheSeedDid) {
  const auto cases = cases_of("[bench]\nprotocol = \"seed\"\n[sweep]\nrun.seed = [1]");
  EXPECT_EQ(integer(cases[0], "train.max_steps"), 20);
  EXPECT_NE(message("[bench]\nprotocol = \"seed\"\nsteps = 5\n[sweep]\nrun.seed = [1]").find("s.toml:3:1"),
            std::string::npos);
}

TEST(Expand, LetsTheSeedProtocolAsAFlagWinOverStepsOfAFile) {
  const Setting flag{std::string("seed"), true, {"--bench.protocol", "/", 0, 0}};
  const Setting of_file{int64_t{5}, false, {"s.toml:2:1", "/", 2, 1}},
      of_flag{std::string("5"), true, {"--bench.steps", "/", 0, 0}};
  EXPECT_EQ(read_bench_options({{"bench.protocol", flag}, {"bench.steps", of_file}}).steps_to_run(), 20);
  EXPECT_THROW(read_bench_options({{"bench.protocol", flag}, {"bench.steps", of_flag}}), Error);
}

TEST(Expand, FillsPlaceholdersOfExternalPrograms) {
  const auto cases = cases_of(
      "[sweep]\n\"train.batch_size\" = [8, 32]\n\"run.seed\" = [1, 2]\n"
      "[[sweep.external]]\nname = \"peer\"\ncommand = [\"train\", \"--batch={train.batch_size}\"]");
  ASSERT_EQ(cases.size(), 6u);
  EXPECT_EQ(cases[5].label(), "peer, batch_size 32");
  EXPECT_EQ(cases[5].command, (std::vector<std::string>{"train", "--batch=32"}));
}

TEST(Expand, TellsExternalProgramsWhatDoesNotVary) {
  const Setting flag{std::string("7"), true, {"--bench.steps", "/", 0, 0}};
  const auto cases = cases_of(
      "[train]\nprecision = \"bf16\"\n[bench]\nsteps = 5\nwarmup = 3\n[[sweep.external]]\nname = \"peer\"\n"
      "command = [\"{sweep.folder}/peer.py\", \"{train.precision}\", \"{bench.warmup}\", \"{bench.no}\"]");
  EXPECT_EQ(cases.at(0).command, (std::vector<std::string>{"/base/peer.py", "bf16", "3", "{bench.no}"}));
  const SweepDocument document = parse_sweep(
      "[bench]\nsteps = 5\n[[sweep.external]]\nname = \"peer\"\ncommand = [\"{bench.steps}\"]", "s.toml", "/base");
  BenchOptions options;
  options.steps = 7;
  EXPECT_EQ(expand(document, {{"bench.steps", flag}}, options).at(0).command, std::vector<std::string>{"7"});
}

TEST(Expand, PutsExternalProgramsBesideTheRunsTheyAreComparedWith) {
  EXPECT_EQ(labels("[sweep]\nrun.seed = [1]\n\"train.batch_size\" = [8, 32]\n"
                   "[[sweep.case]]\nrun.plugin = \"a.so\"\n[[sweep.case]]\nrun.plugin = \"b.so\"\n"
                   "[[sweep.external]]\nname = \"peer\"\ncommand = [\"{train.batch_size}\"]\n"
                   "[[sweep.external]]\nname = \"other\"\ncommand = [\"x\"]"),
            (Labels{"a.so, seed 1, batch_size 8", "b.so, seed 1, batch_size 8", "peer, batch_size 8",
                    "a.so, seed 1, batch_size 32", "b.so, seed 1, batch_size 32", "peer, batch_size 32", "other"}));
}

TEST(Expand, RunsOnlyExternalProgramsWhereNothingElseIsSwept) {
  EXPECT_EQ(labels("[[sweep.external]]\nname = \"peer\"\ncommand = [\"train\"]"), Labels{"peer"});
}

TEST(Expand, RefusesMistakesInTheFileWithTheirPlace) {
  const auto starts = [](const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; };
  EXPECT_PRED2(starts, message("[train]\nepochs = 1"), "s.toml: there is no [sweep]");
  EXPECT_PRED2(starts, message("[sweep]\n\"train.batch_size\" = 8"), "s.toml:2:");
  EXPECT_PRED2(starts, message("[sweep]\n\"train.batch_size\" = []"), "s.toml:2:");
  EXPECT_PRED2(starts, message("[sweep]\n\"train.bach_size\" = [8]"), "s.toml:2:1: train.bach_size is not a key");
  EXPECT_PRED2(starts, message("[sweep]\n\"train.batch_size\" = [8, 0]"),
               "s.toml:2:1: train.batch_size = 0 is too small");
  EXPECT_PRED2(starts, message("[sweep]\n\"run.out\" = [\"a\"]"), "s.toml:2:1: run.out cannot be swept");
  EXPECT_PRED2(starts, message("[sweep]\n\"bench.repeats\" = [1]"),
               "s.toml:2:1: bench.repeats holds for a whole sweep");
  EXPECT_PRED2(starts, message("[sweep]\n\"train.max_steps\" = [1]"), "s.toml:2:1: train.max_steps cannot be swept");
  EXPECT_PRED2(starts, message("[sweep]\nrun.seed = [1]\n[[sweep.case]]\nrun.seed = 2"), "s.toml:4:");
  EXPECT_PRED2(starts, message("[sweep]\nexternal = 3"), "s.toml:2:");
  EXPECT_PRED2(starts, message("[[sweep.external]]\nname = \"x\""), "s.toml:1:");
  EXPECT_PRED2(starts, message("[[sweep.external]]\nname = \"x\"\ncommand = [1]"), "s.toml:3:");
}

TEST(Expand, SurvivesEveryTruncationAndEveryChangedByteOfAFile) {
  const std::string text =
      "[run]\nnproc = 2\n[sweep]\n\"train.batch_size\" = [8, 32]\noptimizer.betas = [[0.9, 0.99]]\n"
      "[[sweep.case]]\nrun.plugin = \"a.so\"\n[[sweep.external]]\nname = \"x\"\ncommand = [\"y\"]\n";
  const auto survives = [](const std::string& damaged) {
    try {
      cases_of(damaged);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage) << damaged;
    }
  };
  for (size_t i = 0; i < text.size(); ++i) {
    survives(text.substr(0, i));
    for (const char c : {'[', ']', '"', '.', '=', '\0', '\xff', '{', '1'}) {
      std::string damaged = text;
      damaged[i] = c;
      survives(damaged);
    }
  }
}

// Cases of a file that comes with the project; what its commands name is there.
size_t cases_in(const std::string& name) {
  const SweepDocument document = read_sweep_file(ESPALIER_SOURCE "/bench/sweeps/" + name);
  const auto cases = expand(document, {}, read_bench_options(document.base));
  for (const SweepCase& one : cases) {
    for (const std::string& word : one.command) {
      EXPECT_EQ(word.find('{'), std::string::npos) << word;
      EXPECT_TRUE(!word.ends_with(".py") || std::filesystem::exists(word)) << word;
    }
  }
  return cases.size();
}

TEST(Expand, TakesTheSweepsThatComeWithTheProject) {
  EXPECT_EQ(cases_in("seed_table.toml"), 8u);
  EXPECT_EQ(cases_in("seed_table_gpu.toml"), 10u);
  EXPECT_EQ(cases_in("peers.toml"), 24u);
  EXPECT_EQ(cases_in("scaling.toml"), 54u);
  EXPECT_EQ(cases_in("strategies.toml"), 7u);
}

TEST(Expand, RefusesSweepsBeyondAnyMeasure) {
  std::string list = "[1";
  for (int i = 0; i < 120; ++i) list += ", 1";
  list += "]\n";
  EXPECT_NE(message("[sweep]\nrun.seed = " + list + "train.batch_size = " + list).find("more than 10000 cases"),
            std::string::npos);
}

TEST(Expand, LetsFlagsWinButNotOverSweptKeys) {
  const Settings flags{{"optimizer.lr", {std::string("0.5"), true, {"--optimizer.lr", "/", 0, 0}}}};
  const auto cases = cases_of("[optimizer]\nlr = 0.1\n[sweep]\nrun.seed = [1]", flags);
  EXPECT_EQ(std::get<std::string>(cases[0].settings.at("optimizer.lr").value), "0.5");
  EXPECT_NE(message("[sweep]\n\"optimizer.lr\" = [0.1]", flags).find("is swept at s.toml:2:1"), std::string::npos);
}

}  // namespace
}  // namespace esp::bench
