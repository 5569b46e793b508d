// A strategy that fails, throws, crashes or hangs in a hook: one message that names it, the hook and the rank.
#include <gtest/gtest.h>

#include "fault_run.hpp"

namespace esp::test {
namespace {

struct PluginFault {
  const char* name;
  const char* fault;
  const char* hook;
  int exit_code;
  std::vector<std::string> says;
  const char* component = "faulty";
};

void PrintTo(const PluginFault& fault, std::ostream* out) { *out << fault.name; }

class PluginFaults : public ::testing::TestWithParam<PluginFault> {};

TEST_P(PluginFaults, EndTheRunWithOneMessage) {
  const PluginFault& fault = GetParam();
  const Scratch scratch;
  HostProcess host(long_run(
      scratch, 2,
      {std::string("--plugin=") + ESPALIER_FAULTY_PLUGIN + ":" + fault.component, "--timeout=3", "--train.max_steps=12",
       std::string("--strategy.fault=") + fault.fault, std::string("--strategy.hook=") + fault.hook}));
  const Outcome outcome = host.wait(40);
  SCOPED_TRACE(outcome.describe());
  EXPECT_EQ(outcome.exit_code, fault.exit_code);
  EXPECT_EQ(outcome.error_lines().size(), 1u);
  for (const std::string& text : fault.says) {
    EXPECT_NE(outcome.err.find(text), std::string::npos) << "stderr does not say \"" << text << '"';
  }
  EXPECT_EQ(outcome.err.find("terminate called"), std::string::npos);
  EXPECT_TRUE(eventually(1, [&] { return host.descendants().empty(); })) << "processes are left behind";
}

const std::vector<std::string> kNamed = {"libfaulty.so", "rank 1"};

std::vector<std::string> named(const std::vector<std::string>& more) {
  std::vector<std::string> all = kNamed;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<PluginFault> faults() {
  return {
      {"ErrorInPostBackward", "error", "post_backward", 3, named({"post_backward", "fails on purpose"})},
      {"ErrorInPreForward", "error", "pre_forward", 3, named({"pre_forward", "fails on purpose"})},
      {"ErrorInEndPass", "error", "end_pass", 3, named({"end_pass", "fails on purpose"})},
      {"ErrorInPrepare", "error", "prepare", 3, named({"prepare", "fails on purpose"})},
      {"ErrorInState", "error", "state", 3, named({"state", "fails on purpose"})},
      {"ExceptionInPreBackward", "throw", "pre_backward", 3, named({"pre_backward", "throws on purpose"})},
      {"ExceptionInCreate", "throw", "create", 3, named({"create", "throws on purpose"})},
      {"UnguardedException", "throw", "end_pass", 3, named({"end_pass"}), "raw"},
      {"MisuseOfTheHost", "misuse", "end_pass", 3, named({"end_pass"})},
      {"CrashInPostForward", "crash", "post_forward", 3, named({"post_forward", "SIGSEGV"})},
      {"AbortInBeginStep", "abort", "begin_step", 3, named({"begin_step", "SIGABRT"})},
      {"CrashInPrepare", "crash", "prepare", 3, named({"prepare", "SIGSEGV"})},
      {"ExitInEndPass", "exit", "end_pass", 3, {"rank 1", "end_pass", "before the run was over"}},
      {"HangInPostBackward", "hang", "post_backward", 7, {"rank"}},
      {"HangInPrepare", "hang", "prepare", 7, {"rank"}},
  };
}

INSTANTIATE_TEST_SUITE_P(Of, PluginFaults, ::testing::ValuesIn(faults()),
                         [](const auto& info) { return std::string(info.param.name); });

// The same plugin without a fault trains: the faults above are what ends the runs.
TEST(PluginWithoutFault, Trains) {
  const Scratch scratch;
  const Outcome outcome = run_host(
      long_run(scratch, 2, {std::string("--plugin=") + ESPALIER_FAULTY_PLUGIN + ":faulty", "--train.max_steps=12"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.describe();
}

}  // namespace
}  // namespace esp::test
