#include "verify/finding.hpp"

#include <gtest/gtest.h>

namespace esp::verify {
namespace {

TEST(VerifyFinding, EffectsAreSilentWhereACauseIsKnown) {
  Findings findings;
  findings.add("NUM-01", "wrong", {"forward_unit"});
  findings.add("STREAM-01", "unordered", {"end_pass"});
  const std::vector<Finding> result = findings.result();
  ASSERT_EQ(1u, result.size());
  EXPECT_EQ("STREAM-01", result[0].rule);
}

TEST(VerifyFinding, OfEffectsTheFirstIsTold) {
  Findings findings;
  findings.add("NUM-02", "norm", {"end_pass"});
  findings.add("NUM-01", "wrong", {"forward_unit"});
  ASSERT_EQ(1u, findings.result().size());
  EXPECT_EQ("NUM-02", findings.result()[0].rule);
}

TEST(VerifyFinding, TheSameRuleInTheSameCallIsCounted) {
  Findings findings;
  for (int i = 0; i < 3; ++i) findings.add("MEM-02", "outside", {"end_pass"});
  ASSERT_EQ(1u, findings.result().size());
  EXPECT_EQ(3u, findings.result()[0].times);
}

TEST(VerifyFinding, SaysWhere) {
  EXPECT_EQ("post_backward(unit 2) at position 5 of step 1 on rank 0", text_of(Where{"post_backward", 0, 1, 2, 5}));
  EXPECT_EQ("prepare on rank 1", text_of(Where{"prepare", 1}));
}

}  // namespace
}  // namespace esp::verify
