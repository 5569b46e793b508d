#include "bench/child_process.hpp"

#include <gtest/gtest.h>

#include "support/host_process.hpp"

namespace esp::bench {
namespace {

using std::chrono::milliseconds;

ChildEnd shell(const std::string& script, milliseconds limit = milliseconds(20'000)) {
  StopSignals signals;
  return run_child({"sh", "-c", script}, limit, milliseconds(300), signals);
}

TEST(RunChild, TellsOutputAndExitCode) {
  const ChildEnd end = shell("echo out; echo err >&2; exit 3");
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_EQ(end.out, "out\n");
  EXPECT_EQ(end.err, "err\n");
  EXPECT_FALSE(end.timed_out || end.interrupted);
}

TEST(RunChild, TakesTheFirstMessageOfTheHostForTheReason) {
  EXPECT_EQ(shell("echo host: warning: old >&2; echo host: L01 gone >&2; echo host: later >&2; exit 3").reason(),
            "L01 gone");
  EXPECT_EQ(shell("echo traceback >&2; echo 'ValueError: no' >&2; exit 1").reason(), "ValueError: no");
  EXPECT_EQ(shell("exit 9").reason(), "ended with exit code 9");
}

TEST(RunChild, EndsOneThatHangs) {
  const double begin = test::now_seconds();
  const ChildEnd end = shell("trap '' TERM; while :; do sleep 1; done", milliseconds(200));
  EXPECT_TRUE(end.timed_out);
  EXPECT_EQ(end.signal, SIGKILL);
  EXPECT_NE(end.reason().find("bench.time_limit"), std::string::npos);
  EXPECT_LT(test::now_seconds() - begin, 10);
}

TEST(RunChild, DoesNotWaitForWhatItLeavesBehind) {
  const double begin = test::now_seconds();
  const ChildEnd end = shell("sleep 100 & echo done");
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_EQ(end.out, "done\n");
  EXPECT_LT(test::now_seconds() - begin, 10);
}

TEST(RunChild, KeepsTheEndOfEndlessOutput) {
  const ChildEnd end = shell("head -c 20000000 /dev/zero | tr '\\0' x; echo; echo last");
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_LE(end.out.size(), 4u << 20);
  EXPECT_TRUE(end.out.ends_with("x\nlast\n"));
}

TEST(RunChild, SaysThatAProgramDoesNotExist) {
  StopSignals signals;
  const ChildEnd end = run_child({"/no/such/program"}, milliseconds(5000), milliseconds(300), signals);
  EXPECT_EQ(end.exit_code, 127);
  EXPECT_EQ(end.reason(), "no such program");
}

TEST(RunChild, IsEndedByAStopSignalThatCameBeforeIt) {
  StopSignals signals;  // blocked in this thread while it lives, so they wait
  kill(getpid(), SIGTERM);
  EXPECT_EQ(signals.count(), 1);
  const double begin = test::now_seconds();
  const ChildEnd end = run_child({"sleep", "100"}, milliseconds(50'000), milliseconds(300), signals);
  EXPECT_TRUE(end.interrupted);
  EXPECT_FALSE(end.timed_out);
  EXPECT_LT(test::now_seconds() - begin, 10);
}

TEST(RunChild, IsKilledByASecondStopSignal) {
  StopSignals signals;
  const std::string self = std::to_string(getpid());
  const double begin = test::now_seconds();
  const ChildEnd end = run_child(
      {"sh", "-c", "trap 'kill -TERM " + self + "' TERM; kill -INT " + self + "; while :; do sleep 0.1; done"},
      milliseconds(50'000), milliseconds(50'000), signals);
  EXPECT_TRUE(end.interrupted);
  EXPECT_EQ(end.signal, SIGKILL);
  EXPECT_LT(test::now_seconds() - begin, 20);
}

}  // namespace
}  // namespace esp::bench
