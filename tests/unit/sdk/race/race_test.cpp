// Strategies under ThreadSanitizer: clean as they are, and caught when any one of their waits is missing.
#include <gtest/gtest.h>
#include <sys/personality.h>
#include <sys/wait.h>

#include <cstdio>
#include <ostream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Outcome {
  int code = -1;
  std::string out;  // and stderr
};

// tsan: options of the sanitizer.
Outcome run(const std::string& arguments, const std::string& tsan) {
  personality(ADDR_NO_RANDOMIZE);  // inherited: with much randomisation, older TSans do not start
  const std::string line = "TSAN_OPTIONS='" + tsan + "' '" ESPALIER_STRATEGY_RACE "' " + arguments + " 2>&1";
  Outcome outcome;
  FILE* pipe = popen(line.c_str(), "r");
  if (pipe == nullptr) return outcome;
  char part[4096];
  for (size_t n; (n = std::fread(part, 1, sizeof part, pipe)) > 0;) outcome.out.append(part, n);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  return outcome;
}

// A wait that nothing needs: where it is (a pattern for the hook's name and the two streams, numbers left out), and
// why.
struct Redundant {
  const char* where;
  const char* why;
};

struct Case {
  const char* name;
  std::vector<Redundant> redundant;  // besides those that order nothing which other waits do not order
};
std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

const Redundant kSameWaitFollows = {
    "end_pass: side for compute", "the next bucket waits for the same, before the first whose weights were read last"};
const Redundant kHomeIsNotRead = {"post_backward, micro : (side|cpu) for compute",
                                  "the update writes the part that was gathered from, which the model does not read"};
const Redundant kLandedAlready = {"post_backward, micro : cpu for side",
                                  "the gradient landed before; the reduction has worked on another chunk since"};

const Case kCases[] = {
    {"ddp", {}},
    {"ddp_fp16", {kSameWaitFollows}},
    {"zero1", {}},
    {"zero1_offload", {}},
    {"zero1_offload_alone", {}},
    {"zero2", {}},
    {"zero2_offload", {}},
    {"zero3", {kHomeIsNotRead}},
    {"zero3_offload", {kHomeIsNotRead}},
    {"gemini", {kHomeIsNotRead}},
    {"gemini_auto", {kHomeIsNotRead}},
    {"gemini_cpu_update", {kHomeIsNotRead}},
    {"gemini_cpu_update_alone", {}},
    {"gemini_mixed", {kHomeIsNotRead, kLandedAlready}},
    {"gemini_mixed_once", {kHomeIsNotRead}},
    {"gemini_host", {kHomeIsNotRead}},
    {"gemini_host_alone", {kHomeIsNotRead}},
};

class StrategyRace : public ::testing::TestWithParam<Case> {};

TEST_P(StrategyRace, HasNone) {
  const Outcome outcome = run(GetParam().name, "halt_on_error=0");
  EXPECT_EQ(0, outcome.code);
  EXPECT_EQ("", outcome.out.substr(0, 20000));
}

// Lines of "FOUND: WAIT", see strategy_race.cpp.
TEST_P(StrategyRace, IsCaughtWhenAnyWaitIsMissing) {
  const Outcome outcome =
      run(std::string(GetParam().name) + " each-wait", "halt_on_error=1:symbolize=0:log_path=/dev/null");
  ASSERT_EQ(0, outcome.code) << outcome.out;
  std::istringstream lines(outcome.out);
  int caught = 0;
  std::set<std::string> met;
  for (std::string line; std::getline(lines, line);) {
    const bool raced = line.rfind("race: ", 0) == 0 && line != "race: no order";
    if (raced) ++caught;
    if (raced || line == "nothing: no order") continue;
    const std::string wait = std::regex_replace(line, std::regex("\\(?[0-9]+\\)?"), "");
    bool known = false;
    for (const Redundant& one : GetParam().redundant) {
      if (!std::regex_match(wait, std::regex(std::string("nothing: ") + one.where))) continue;
      known = true;
      met.insert(one.where);
    }
    EXPECT_TRUE(known) << line;
  }
  EXPECT_GT(caught, 0);
  EXPECT_EQ(GetParam().redundant.size(), met.size()) << "a wait that is said to be redundant is not";
}

INSTANTIATE_TEST_SUITE_P(Of, StrategyRace, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

// The tests above can fail: TSan's report of a run without a wait names a race.
TEST(StrategyRaces, AreReportedWithBothStacks) {
  const Outcome outcome = run("ddp without 0", "halt_on_error=1");
  EXPECT_EQ(66, outcome.code);
  EXPECT_NE(std::string::npos, outcome.out.find("WARNING: ThreadSanitizer: data race")) << outcome.out;
  EXPECT_NE(std::string::npos, outcome.out.find("MockTables")) << outcome.out;
}

}  // namespace
