#include "verify/rules.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "error.hpp"

namespace esp::verify {
namespace {

TEST(VerifyRules, HaveIdsOfTheirOwnAndSayWhatToDo) {
  std::set<std::string> ids;
  for (const Rule& rule : rules()) {
    EXPECT_TRUE(ids.insert(rule.id).second) << rule.id;
    EXPECT_STRNE("", rule.demand) << rule.id;
    EXPECT_STRNE("", rule.advice) << rule.id;
  }
}

TEST(VerifyRules, AnIdThatIsNotInTheListIsABugOfOurs) { EXPECT_THROW(find_rule("HOOK-99"), Error); }

TEST(VerifyRules, AreTheTableInTheDocumentation) {
  std::ifstream file(ESPALIER_SOURCE "/docs/verify.md");
  std::ostringstream page;
  page << file.rdbuf();
  EXPECT_NE(std::string::npos, page.str().find(rules_markdown())) << "docs/verify.md should hold:\n"
                                                                  << rules_markdown();
}

}  // namespace
}  // namespace esp::verify
