#include "supervisor/supervise.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>

#include "error.hpp"
#include "scripted_rank.hpp"
#include "supervised_run.hpp"
#include "supervisor/rank_link.hpp"
#include "supervisor/signal_text.hpp"

namespace esp::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr SuperviseTimes kTimes{milliseconds(1500), milliseconds(400), milliseconds(20000)};

// A sanitizer reports crashes in its own words; the crash handler leaves them to it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

struct Ended {
  int code;
  std::string err;
};

Ended run(const std::vector<std::string>& actions) {
  SupervisedRun run(actions, kTimes);
  const int code = run.finish();
  return {code, run.err()};
}

TEST(Supervise, RanksThatAllSucceedGiveExitCodeZeroAndNoWord) {
  const Ended ended = run({"ok", "ok", "ok"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.err, "");
}

TEST(Supervise, RanksFindTheirPlaceAndRankZeroAListeningSocket) { EXPECT_EQ(run({"facts", "facts", "facts"}).code, 0); }

TEST(Supervise, TheErrorOfOneRankEndsTheOthersAndIsSaidOnce) {
  const Ended ended = run({"train", "fail", "train"});
  EXPECT_EQ(ended.code, static_cast<int>(ExitCode::kData));
  EXPECT_EQ(ended.err, "host: rank 1: image 3 is damaged\n");
}

TEST(Supervise, ASingleRankIsNotNamed) { EXPECT_EQ(run({"fail"}).err, "host: image 3 is damaged\n"); }

TEST(Supervise, ARankThatIgnoresSigtermIsKilledAfterTheGrace) {
  SupervisedRun run({"fail-on-signal", "stubborn"}, kTimes);
  const auto ranks = run.wait_until_ready(2);
  ASSERT_EQ(ranks.size(), 2u);
  const auto start = steady_clock::now();
  kill(ranks.at(0), SIGUSR1);
  EXPECT_EQ(run.finish(), static_cast<int>(ExitCode::kData));
  EXPECT_GE(steady_clock::now() - start, kTimes.fail);
  EXPECT_LT(steady_clock::now() - start, milliseconds(5000));
}

TEST(Supervise, APeerLostErrorGivesWayToTheErrorBehindIt) {
  const Ended ended = run({"peer-lost", "late-fail"});
  EXPECT_EQ(ended.code, static_cast<int>(ExitCode::kNumeric));
  EXPECT_EQ(ended.err, "host: rank 1: the loss is not finite\n");
}

TEST(Supervise, APeerLostErrorWithNothingBehindItIsTheCause) {
  const Ended ended = run({"peer-lost", "train"});
  EXPECT_EQ(ended.code, static_cast<int>(ExitCode::kPeerLost));
  EXPECT_EQ(ended.err, "host: rank 0: rank 1 does not answer\n");
}

TEST(Supervise, ACrashInAPluginIsTold) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer handles crashes";
  const Ended ended = run({"train", "crash"});
  EXPECT_EQ(ended.code, static_cast<int>(ExitCode::kPlugin));
  EXPECT_EQ(ended.err, "host: rank 1 crashed with signal 11 (SIGSEGV) in forward_unit of libvit.so\n");
}

TEST(Supervise, AStackThatIsUsedUpIsTold) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer handles crashes";
  const Ended ended = run({"overflow", "train"});
  EXPECT_EQ(ended.code, static_cast<int>(ExitCode::kInternal));
  EXPECT_EQ(ended.err, "host: rank 0 crashed with signal 11 (SIGSEGV) in reading weights\n");
}

TEST(Supervise, AnExceptionInAThreadIsTold) {
  const Ended ended = run({"train", "throw"});
  EXPECT_EQ(ended.code, static_cast<int>(ExitCode::kInternal));
  EXPECT_EQ(ended.err, "host: rank 1 ended by an exception that nobody caught (thrown in a thread) in loading\n");
}

TEST(Supervise, ARankThatWasKilledIsNamedWithItsPhaseThoughAPeerComplainedFirst) {
  const Ended ended = run({"peer-lost", "killed"});
  EXPECT_EQ(ended.code, static_cast<int>(ExitCode::kPeerLost));
  EXPECT_EQ(ended.err.find("host: rank 1 was killed by signal 9 (SIGKILL) in all-reduce"), 0u) << ended.err;
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1);
}

TEST(Supervise, ARankThatEndsWithoutAWordIsNamed) {
  const Ended ended = run({"train", "silent"});
  EXPECT_EQ(ended.code, 9);
  EXPECT_EQ(ended.err, "host: rank 1 ended with exit code 9 without saying why\n");
}

TEST(Supervise, WhatARankStartedEndsWithIt) {
  SupervisedRun run({"grandchild"}, kTimes);
  EXPECT_EQ(run.finish(), 0);
  int grandchild = 0;
  ASSERT_EQ(std::sscanf(run.out().c_str(), "grandchild %d", &grandchild), 1);
  EXPECT_TRUE(vanishes(grandchild));
}

class StopSignals : public testing::TestWithParam<int> {};

TEST_P(StopSignals, EndAllRanksInAnOrderlyWay) {
  SupervisedRun run({"train", "train"}, kTimes);
  ASSERT_EQ(run.wait_until_ready(2).size(), 2u);
  run.signal(GetParam());
  EXPECT_EQ(run.finish(), static_cast<int>(ExitCode::kInterrupted));
  EXPECT_NE(run.err().find(std::string("host: interrupted by ") + signal_name(GetParam()) + "\n"), std::string::npos)
      << run.err();
}

INSTANTIATE_TEST_SUITE_P(Supervise, StopSignals, testing::Values(SIGINT, SIGTERM, SIGHUP));

TEST(Supervise, ASecondInterruptEndsStubbornRanksAtOnce) {
  SupervisedRun run({"stubborn", "stubborn"}, kTimes);
  ASSERT_EQ(run.wait_until_ready(2).size(), 2u);
  const auto start = steady_clock::now();
  run.signal(SIGINT);
  run.signal(SIGTERM);
  EXPECT_EQ(run.finish(), static_cast<int>(ExitCode::kInterrupted));
  EXPECT_LT(steady_clock::now() - start, milliseconds(5000));
  EXPECT_NE(run.err().find("ranks were killed"), std::string::npos) << run.err();
}

TEST(Supervise, ASigtermToOneRankStopsTheRun) {
  SupervisedRun run({"train", "train"}, kTimes);
  const auto ranks = run.wait_until_ready(2);
  ASSERT_EQ(ranks.size(), 2u);
  kill(ranks.at(1), SIGTERM);
  EXPECT_EQ(run.finish(), static_cast<int>(ExitCode::kInterrupted));
  EXPECT_EQ(run.err(), "host: rank 1: stopped after step 12\n");
}

TEST(Supervise, RanksDieWithTheSupervisor) {
  SupervisedRun run({"stubborn", "stubborn"}, kTimes);
  const auto ranks = run.wait_until_ready(2);
  ASSERT_EQ(ranks.size(), 2u);
  run.signal(SIGKILL);
  EXPECT_EQ(run.finish(), 1000 + SIGKILL);
  for (const auto& [rank, pid] : ranks) EXPECT_TRUE(vanishes(pid)) << "rank " << rank;
}

TEST(Supervise, NoZombieIsLeftInTheCallingProcess) {
  EXPECT_EQ(supervise(2, {"ok", "silent"}, kTimes), 9);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(Supervise, ManyRanksThatFailAtOnceGiveOneMessage) {
  const Ended ended = run(std::vector<std::string>(12, "fail"));
  EXPECT_EQ(ended.code, static_cast<int>(ExitCode::kData));
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1);
}

TEST(Supervise, RankCountsOutOfRangeAreRefused) {
  for (const int count : {0, -1, 100000}) {
    try {
      supervise(count, {}, kTimes);
      FAIL() << count;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
    }
  }
}

}  // namespace
}  // namespace esp::test

int main(int count, char** arguments) {
  if (esp::is_supervised()) return esp::test::run_scripted_rank(count, arguments);
  testing::InitGoogleTest(&count, arguments);
  return RUN_ALL_TESTS();
}
