// The order of runs, what is repeated and what is not: with a shell script in place of the host.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <sstream>

#include "bench/sweep_runner.hpp"
#include "error.hpp"
#include "support/scratch.hpp"

namespace esp::bench {
namespace {

using esp::test::read_file;
using esp::test::Scratch;

// Called as: host run -c CONFIG --out=FOLDER. Notes every call; its config says what happens.
constexpr const char* kScript = R"sh(#!/bin/sh
folder="${4#--out=}"
what="$(cat "$3")"
echo "$what" >> "$(dirname "$0")/calls"
case "$what" in
  fails) echo "host: L70 it broke" >&2; exit 3 ;;
  crashes) mkdir "$folder"; echo '{"step_ms": 1}' > "$folder/metrics.jsonl"; kill -SEGV $$ ;;
  full) echo "host: memory is exhausted" >&2; exit 6 ;;
  hangs) sleep 100 ;;
esac
mkdir "$folder"
echo '{"train_samples": 16, "train_loss": 1}' > "$folder/results.json"
for i in 1 2 3; do echo '{"step_ms": 4, "samples": 8}'; done > "$folder/metrics.jsonl"
)sh";

class SweepRunner : public testing::Test {
 protected:
  void SetUp() override {
    job_.host = scratch_.write("host", kScript);
    chmod(job_.host.c_str(), 0755);
    job_.folder = scratch_.path() / "sweep";
    job_.resolve = [](const Settings& settings) {
      const std::string what = std::get<std::string>(settings.at("what").value);
      if (what == "refused") throw Error(ExitCode::kPlugin, "L01 not found");
      if (what == "fault") throw SweepFault("s.toml:1:1: cannot be swept");
      return what;
    };
  }

  SweepEnd run(const std::vector<std::string>& names) {
    std::vector<SweepCase> cases;
    for (const std::string& name : names) {
      SweepCase one;
      one.swept = {{"x.what", name}};
      one.settings["what"].value = name;
      cases.push_back(std::move(one));
    }
    return run_cases(cases);
  }
  SweepEnd run_cases(const std::vector<SweepCase>& cases) {
    StopSignals signals;
    return run_sweep(cases, job_, signals, progress_);
  }
  std::string calls() const { return read_file(scratch_.path() / "calls"); }

  Scratch scratch_;
  SweepJob job_;
  std::ostringstream progress_;
};

TEST_F(SweepRunner, InterleavesRepeats) {
  job_.options.repeats = 2;
  const SweepEnd end = run({"a", "b"});
  EXPECT_EQ(calls(), "a\nb\na\nb\n");
  ASSERT_EQ(end.rows.size(), 2u);
  EXPECT_EQ(end.rows[0].runs.size(), 2u);
  EXPECT_EQ(end.rows[1].runs[1].repeat, 2);
}

TEST_F(SweepRunner, InterleavesExternalProgramsToo) {
  job_.options.repeats = 2;
  SweepCase mine, other;
  mine.swept = {{"x.what", "mine"}};
  mine.settings["what"].value = std::string("mine");
  other.name = "other";
  other.command = {"sh", "-c",
                   "echo other >> " + (scratch_.path() / "calls").string() +
                       "; echo '{\"step_ms\": [2, 2], \"samples_per_second\": 4000, \"joules_per_sample\": 1}'"};
  const SweepEnd end = run_cases({mine, other});
  EXPECT_EQ(calls(), "mine\nother\nmine\nother\n");
  ASSERT_EQ(end.rows.size(), 2u);
  EXPECT_EQ(end.rows[1].runs.size(), 2u);
  EXPECT_EQ(end.rows[1].plugin, "other");
  EXPECT_DOUBLE_EQ(end.rows[1].samples_per_second(), 4000);
  EXPECT_DOUBLE_EQ(end.rows[1].joules_per_sample(), 1);
}

TEST_F(SweepRunner, MakesARowOfEveryEnding) {
  job_.options.time_limit = std::chrono::milliseconds(1500);
  const SweepEnd end = run({"good", "refused", "fails", "crashes", "full", "hangs"});
  ASSERT_EQ(end.rows.size(), 6u);
  const auto is = [&](size_t i, RowStatus status, int code, const std::string& reason) {
    EXPECT_EQ(status_name(end.rows[i].status), std::string(status_name(status))) << i;
    EXPECT_EQ(end.rows[i].exit_code, code) << i;
    EXPECT_NE(end.rows[i].reason.find(reason), std::string::npos) << end.rows[i].reason;
    EXPECT_EQ(end.rows[i].reason.find('\n'), std::string::npos);
  };
  is(0, RowStatus::kDone, 0, "");
  is(1, RowStatus::kRefused, 3, "L01 not found");
  is(2, RowStatus::kRefused, 3, "L70 it broke");
  is(3, RowStatus::kFailed, -1, "SIGSEGV");
  is(4, RowStatus::kOutOfMemory, 6, "memory is exhausted");
  is(5, RowStatus::kTimeLimit, -1, "bench.time_limit");
  EXPECT_EQ(calls(), "good\nfails\ncrashes\nfull\nhangs\n");
}

TEST_F(SweepRunner, RunsNothingTwice) {
  const SweepEnd first = run({"a", "fails", "refused"});
  EXPECT_EQ(first.runs_started, 2u);
  const SweepEnd second = run({"a", "fails", "refused"});
  EXPECT_EQ(second.runs_started, 0u);
  EXPECT_EQ(calls(), "a\nfails\n");
  ASSERT_EQ(second.rows.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(to_json_line(first.rows[i]), to_json_line(second.rows[i]));
}

TEST_F(SweepRunner, RunsAgainWhatIsNewOrLostOrAskedFor) {
  run({"a", "fails"});
  EXPECT_EQ(run({"a", "b"}).runs_started, 1u);
  job_.retry = true;
  EXPECT_EQ(run({"a", "fails"}).runs_started, 1u);
  job_.retry = false;
  const std::string id = run({"a"}).rows[0].id;
  std::filesystem::remove(job_.folder / "runs" / id / "1" / "results.json");
  EXPECT_EQ(run({"a"}).runs_started, 1u);
  EXPECT_TRUE(run({"a"}).rows[0].done());
}

TEST_F(SweepRunner, GivesOtherSettingsAnotherFolder) {
  SweepCase one;
  one.swept = {{"run.plugin", "../x/lib y.so"}};
  const std::string id = case_id(one, "a");
  EXPECT_EQ(id, case_id(one, "a"));
  EXPECT_NE(id, case_id(one, "b"));
  EXPECT_EQ(id.find('/'), std::string::npos);
}

TEST_F(SweepRunner, StartsNothingAfterAFaultOfTheFile) {
  EXPECT_THROW(run({"a", "fault"}), SweepFault);
  EXPECT_EQ(calls(), "");
}

TEST_F(SweepRunner, StopsOnASignalAndKeepsWhatIsDone) {
  SweepCase good, stopper, never;
  good.swept = {{"x", "good"}};
  good.settings["what"].value = std::string("good");
  stopper.name = "stopper";
  stopper.command = {"sh", "-c", "kill -INT " + std::to_string(getpid()) + "; exec sleep 100"};
  never = good;
  never.swept = {{"x", "never"}};
  never.settings["what"].value = std::string("never");
  const SweepEnd end = run_cases({good, stopper, never});
  EXPECT_TRUE(end.interrupted);
  ASSERT_EQ(end.rows.size(), 1u);
  EXPECT_EQ(calls(), "good\n");
  EXPECT_EQ(run_cases({good, never}).runs_started, 1u);
}

TEST_F(SweepRunner, TakesNothingOnTrustFromExternalPrograms) {
  job_.options.time_limit = std::chrono::milliseconds(1500);
  const auto external = [](const std::string& name, const std::string& script) {
    SweepCase one;
    one.name = name;
    one.command = {"sh", "-c", script};
    return one;
  };
  const std::vector<SweepCase> cases{external("good", "echo '{\"samples_per_second\": 5}'"),
                                     external("garbage", "head -c 100000 /dev/urandom"),
                                     external("silent", "exit 0"),
                                     external("hang", "echo '{\"samples_per_second\": 5}'; sleep 100"),
                                     external("huge", "head -c 9000000 /dev/zero | tr '\\0' '{'"),
                                     external("angry", "echo no >&2; exit 2")};
  const SweepEnd end = run_cases(cases);
  ASSERT_EQ(end.rows.size(), 6u);
  EXPECT_TRUE(end.rows[0].done());
  EXPECT_EQ(end.rows[1].status, RowStatus::kFailed);
  EXPECT_EQ(end.rows[2].status, RowStatus::kFailed);
  EXPECT_EQ(end.rows[3].status, RowStatus::kTimeLimit);
  EXPECT_EQ(end.rows[4].status, RowStatus::kFailed);
  EXPECT_EQ(end.rows[5].reason, "no");
  EXPECT_EQ(run_cases(cases).runs_started, 0u);
}

}  // namespace
}  // namespace esp::bench
