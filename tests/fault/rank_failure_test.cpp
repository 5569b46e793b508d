// A rank, the supervisor or the user ends a run: all of it ends within seconds, and says why once.
#include <gtest/gtest.h>
#include <signal.h>

#include "fault_run.hpp"

namespace esp::test {
namespace {

constexpr double kStart = 40;     // seconds until the first steps, on a busy machine
constexpr double kEnd = 8;        // from the fault to the end of the last process
constexpr double kStuckEnd = 12;  // from a collective's time limit to the end, where a process has to be killed
constexpr double kOrphansEnd = 3;

struct Running {
  Scratch scratch;
  HostProcess host;
  std::vector<pid_t> ranks;

  explicit Running(int nproc, const std::vector<std::string>& more = {}) : host(long_run(scratch, nproc, more)) {
    trains = eventually(kStart, [&] { return has_trained(scratch, 5); });
    if (nproc > 1) ranks = ranks_of(host, nproc);
  }
  bool trains = false;
};

// Ended by its own decision, in time, with one line of error and nothing left behind.
void expect_clean_end(Running& run, int exit_code, double since) {
  const Outcome outcome = run.host.wait(now_seconds() - since + kStart + kEnd);
  SCOPED_TRACE(outcome.describe());
  EXPECT_EQ(outcome.exit_code, exit_code);
  EXPECT_LT(now_seconds() - since, kEnd);
  EXPECT_TRUE(eventually(1, [&] { return run.host.descendants().empty(); })) << "processes are left behind";
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

class KilledRank : public ::testing::TestWithParam<int> {};

TEST_P(KilledRank, EndsAllAndIsNamedOnce) {
  const int victim = GetParam();
  Running run(2);
  ASSERT_TRUE(run.trains) << run.host.err();
  ASSERT_EQ(run.ranks.size(), 2u);
  const double since = now_seconds();
  kill(run.ranks[static_cast<size_t>(victim)], SIGKILL);
  expect_clean_end(run, 7, since);
  EXPECT_EQ(count(run.host.err(), "host: "), 1u) << run.host.err();
  EXPECT_NE(run.host.err().find("rank " + std::to_string(victim)), std::string::npos) << run.host.err();
}

INSTANTIATE_TEST_SUITE_P(Rank, KilledRank, ::testing::Values(0, 1));

// A stopped process is a peer that is silent: only the time limit of a collective tells.
TEST(StoppedRank, EndsAllAfterTheTimeLimit) {
  Running run(2, {"--timeout=3"});
  ASSERT_TRUE(run.trains) << run.host.err();
  ASSERT_EQ(run.ranks.size(), 2u);
  const double since = now_seconds();
  kill(run.ranks[1], SIGSTOP);
  const Outcome outcome = run.host.wait(60);
  SCOPED_TRACE(outcome.describe());
  EXPECT_EQ(outcome.exit_code, 7);
  EXPECT_LT(now_seconds() - since, 3 + kStuckEnd);
  EXPECT_TRUE(eventually(1, [&] { return run.host.descendants().empty(); }));
}

class Interrupt : public ::testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(Interrupt, OfTheSupervisorEndsAll) {
  const auto [number, nproc] = GetParam();
  Running run(nproc);
  ASSERT_TRUE(run.trains) << run.host.err();
  const double since = now_seconds();
  run.host.signal(number);
  expect_clean_end(run, 130, since);
}

INSTANTIATE_TEST_SUITE_P(Signal, Interrupt,
                         ::testing::Combine(::testing::Values(SIGINT, SIGTERM), ::testing::Values(1, 2)));

// A terminal sends Ctrl-C to the whole foreground group: supervisor and ranks get it at once.
TEST(Interrupt, OfTheWholeGroupEndsAllAndIsNoErrorOfARank) {
  Running run(2);
  ASSERT_TRUE(run.trains) << run.host.err();
  const double since = now_seconds();
  kill(-run.host.pid(), SIGINT);
  expect_clean_end(run, 130, since);
  EXPECT_LE(count(run.host.err(), "host: "), 2u) << run.host.err();
}

TEST(Interrupt, TwiceEndsAllAtOnce) {
  Running run(2);
  ASSERT_TRUE(run.trains) << run.host.err();
  const double since = now_seconds();
  run.host.signal(SIGINT);
  run.host.signal(SIGINT);
  expect_clean_end(run, 130, since);
}

TEST(KilledSupervisor, TakesItsRanksAlong) {
  Running run(2);
  ASSERT_TRUE(run.trains) << run.host.err();
  ASSERT_EQ(run.host.descendants().size(), 2u);
  run.host.kill();
  EXPECT_TRUE(eventually(kOrphansEnd, [&] { return run.host.descendants().empty(); }));
}

class Nonfinite : public ::testing::TestWithParam<int> {};

TEST_P(Nonfinite, StopsAllAndNamesStepAndRank) {
  const Scratch scratch;
  HostProcess host(long_run(scratch, GetParam(), {"--optimizer.lr=1e30", "--optimizer.schedule=constant"}));
  const Outcome outcome = host.wait(kStart);
  SCOPED_TRACE(outcome.describe());
  EXPECT_EQ(outcome.exit_code, 8);
  EXPECT_EQ(count(outcome.err, "host: "), 1u);
  EXPECT_NE(outcome.err.find("step "), std::string::npos);
  EXPECT_NE(outcome.err.find("rank "), std::string::npos);
  EXPECT_FALSE(has_trained(scratch, 20)) << "it went on after the first non-finite step";
  EXPECT_FALSE(std::filesystem::exists(scratch.path() / "out/model/model.safetensors")) << "broken weights were saved";
}

INSTANTIATE_TEST_SUITE_P(Ranks, Nonfinite, ::testing::Values(1, 2));

TEST(Nonfinite, GoesOnWhereTheUserSaysSo) {
  const Scratch scratch;
  const Outcome outcome =
      run_host(long_run(scratch, 1, {"--optimizer.lr=1e30", "--train.max_steps=8", "--train.on_nonfinite=ignore"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.describe();
  EXPECT_TRUE(has_trained(scratch, 8));
}

// A closed terminal or log pipe is no reason to stop.
TEST(ClosedStandardOutput, IsNoReasonToStop) {
  const Scratch scratch;
  HostOptions options;
  options.prefix = {"sh", "-c", "\"$@\" >&- 2>&-", "sh"};
  const Outcome outcome = run_host(long_run(scratch, 2, {"--train.max_steps=6"}), kStart, options);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.describe();
  EXPECT_TRUE(has_trained(scratch, 6));
}

}  // namespace
}  // namespace esp::test
