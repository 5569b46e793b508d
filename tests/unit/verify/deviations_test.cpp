// The staged `host verify` against libraries that are right, and against libraries that are wrong in one way each.
#include "deviations.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "support/host_process.hpp"
#include "support/scratch.hpp"
#include "verify/rules.hpp"

namespace esp::verify {
namespace {

using Json = nlohmann::json;

constexpr double kLimit = 100;  // seconds, on a busy machine

std::string fixture(const std::string& name) { return std::string(ESPALIER_FIXTURES) + "/libdeviant_" + name + ".so"; }

test::Outcome run_verify(const std::string& library, std::vector<std::string> flags = {}) {
  std::vector<std::string> arguments = {"verify", "--plugin=" + library};
  for (std::string& flag : flags) {
    if (!flag.empty()) arguments.push_back(std::move(flag));
  }
  return test::run_host(arguments, kLimit);
}

std::vector<std::string> flags_of(const Deviation& deviation) {
  return {*deviation.only == '\0' ? "" : std::string("--only=") + deviation.only, deviation.flag};
}

// The lines "rules broken: ..." of a report.
std::string broken_rules(const std::string& report) {
  const std::string key = "rules broken: ";
  const size_t begin = report.find(key);
  return begin == std::string::npos ? ""
                                    : report.substr(begin + key.size(), report.find('\n', begin) - begin - key.size());
}

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  const size_t begin = text.find_last_of('\n', end);
  return text.substr(begin + 1, end - begin);
}

class Deviations : public testing::TestWithParam<Deviation> {};

TEST_P(Deviations, AreNamedByTheirRuleAndNoOther) {
  const test::Outcome outcome = run_verify(fixture(GetParam().name), flags_of(GetParam()));
  EXPECT_EQ(1, outcome.exit_code) << outcome.describe();
  EXPECT_EQ(GetParam().rule, broken_rules(outcome.out)) << outcome.describe();
}

std::string test_name(const testing::TestParamInfo<Deviation>& info) {
  std::string name = std::string(info.param.rule) + "_" + info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Verify, Deviations, testing::ValuesIn(kDeviations), test_name);

TEST(VerifyDeviations, ShowEveryRule) {
  std::set<std::string> shown, known;
  for (const Deviation& deviation : kDeviations) shown.insert(deviation.rule);
  for (const Rule& rule : rules()) known.insert(rule.id);
  EXPECT_EQ(known, shown);
}

TEST(VerifyDeviations, AreAllThatIsWrong) {
  for (const char* source : {"strategy", "model", "dataset"}) {
    const test::Outcome outcome = run_verify(fixture(source));
    EXPECT_EQ(0, outcome.exit_code) << source << ": " << outcome.describe();
  }
}

// What a report tells to repeat finds the same rule, crashes included.
TEST(VerifyReport, ARepeatedTestFindsTheSameAgain) {
  for (const auto& [name, rule] : {std::pair("crashes", "LIFE-05"), {"forgets_to_wait", "STREAM-01"}}) {
    const test::Outcome first = run_verify(fixture(name), {"--seed=7", "--world=2", "--json"});
    const Json report = Json::parse(first.out);
    const auto& tests = report.at("tests");
    const auto failed =
        std::find_if(tests.rbegin(), tests.rend(), [](const Json& t) { return t.at("verdict") == "failed"; });
    ASSERT_NE(tests.rend(), failed) << first.describe();
    std::istringstream words(failed->at("repeat").get<std::string>());
    std::vector<std::string> arguments;
    for (std::string word; words >> word;) {
      word.erase(std::remove(word.begin(), word.end(), '\''), word.end());
      arguments.push_back(word);
    }
    ASSERT_EQ("host", arguments.at(0));
    arguments.erase(arguments.begin());
    const test::Outcome again = test::run_host(arguments, kLimit);
    EXPECT_EQ(1, again.exit_code) << again.describe();
    EXPECT_EQ(rule, broken_rules(again.out)) << again.describe();
    EXPECT_NE(std::string::npos, last_line(again.out).find("0 passed, 1 failed, 0 skipped")) << again.describe();
    EXPECT_NE(std::string::npos, last_line(again.out).find("seed 7")) << again.describe();
  }
}

TEST(VerifyReport, InProcessACrashEndsTheHost) {
  const test::Outcome outcome = run_verify(fixture("crashes"), {"--only=hooks/world1", "--in-process"});
  EXPECT_NE(0, outcome.signal) << outcome.describe();
}

TEST(VerifyReport, InProcessTheSameRuleIsFound) {
  const test::Outcome outcome = run_verify(fixture("forgets_to_wait"), {"--only=hooks/world1", "--in-process"});
  EXPECT_EQ(1, outcome.exit_code) << outcome.describe();
  EXPECT_EQ("STREAM-01", broken_rules(outcome.out)) << outcome.describe();
}

TEST(VerifyReport, EndsWithALineToQuote) {
  const test::Outcome outcome = run_verify(fixture("strategy"), {"--only=hooks/world1", "--seed=9"});
  const std::string line = last_line(outcome.out);
  EXPECT_EQ(0u, line.find("verify: 1 passed, 0 failed, 0 skipped · libdeviant_strategy.so 1.0.0 · sdk 1.0 (")) << line;
  EXPECT_NE(std::string::npos, line.find("· seed 9")) << line;
}

TEST(VerifyReport, AsJsonHoldsWhatTheTextSays) {
  const test::Outcome outcome = run_verify(fixture("syncs_in_a_hook"), {"--only=hooks", "--json"});
  EXPECT_EQ(1, outcome.exit_code) << outcome.describe();
  const Json report = Json::parse(outcome.out);
  EXPECT_EQ(3, report.at("failed"));
  EXPECT_EQ(42, report.at("seed"));
  const Json& finding = report.at("tests").at(0).at("findings").at(0);
  EXPECT_EQ("HOOK-02", finding.at("rule"));
  EXPECT_EQ(find_rule("HOOK-02").advice, finding.at("advice"));
  EXPECT_NE(std::string::npos, finding.at("where").get<std::string>().find("end_pass")) << outcome.describe();
}

TEST(VerifyReport, AsJUnitCountsAndNamesFailures) {
  test::Scratch scratch;
  const std::string path = scratch / "report.xml";
  const test::Outcome outcome = run_verify(fixture("syncs_in_a_hook"), {"--only=hooks", "--junit=" + path});
  const std::string text = test::read_file(path);
  EXPECT_NE(std::string::npos, text.find("tests=\"4\" failures=\"3\" skipped=\"0\"")) << text;
  EXPECT_NE(std::string::npos, text.find("<testcase classname=\"hooks\" name=\"world1\"")) << text;
  EXPECT_NE(std::string::npos, text.find("<failure type=\"HOOK-02\"")) << text;
  EXPECT_NE(std::string::npos, text.find("</testsuite>")) << text;
}

TEST(VerifyFlags, ThatNameNothingAreRefused) {
  for (const char* flag : {"--only=nothing", "--repro=hooks/world1", "--with=no_such_option=1", "--with=words"}) {
    const test::Outcome outcome = run_verify(fixture("strategy"), {flag});
    EXPECT_EQ(2, outcome.exit_code) << flag << ": " << outcome.describe();
  }
}

}  // namespace
}  // namespace esp::verify
