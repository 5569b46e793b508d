#include "verify/executor.hpp"

#include <espalier/host.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace esp::verify {
namespace {

Op work(std::vector<size_t> before, std::function<void()> run, bool on_compute = false) {
  Op op;
  op.before = std::move(before);
  op.run = std::move(run);
  op.on_compute = on_compute;
  return op;
}

Op all_reduce(float* data, uint64_t n, uint32_t how = ESP_AVG) {
  Op op;
  op.meeting = {Meeting::kAllReduce, 0, {0, 1}, data, data, n, ESP_F32, how, nullptr};
  return op;
}

TEST(VerifyExecutor, NothingRunsBeforeWhatItWaitsFor) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    std::vector<int> order;
    std::vector<std::vector<Op>> ranks(1);
    ranks[0].push_back(work({}, [&] { order.push_back(0); }));
    ranks[0].push_back(work({}, [&] { order.push_back(1); }));
    ranks[0].push_back(work({0}, [&] { order.push_back(2); }));
    std::mt19937_64 random(seed);
    Findings findings;
    ASSERT_TRUE(execute(ranks, Order::kRandom, random, findings));
    ASSERT_EQ(3u, order.size());
    EXPECT_LT(std::find(order.begin(), order.end(), 0), std::find(order.begin(), order.end(), 2));
  }
}

TEST(VerifyExecutor, DelaysTheStreamItIsToldTo) {
  for (const Order policy : {Order::kComputeLast, Order::kComputeFirst}) {
    std::vector<int> order;
    std::vector<std::vector<Op>> ranks(1);
    ranks[0].push_back(work(
        {}, [&] { order.push_back(0); }, true));
    ranks[0].push_back(work(
        {}, [&] { order.push_back(1); }, false));
    std::mt19937_64 random(1);
    Findings findings;
    ASSERT_TRUE(execute(ranks, policy, random, findings));
    EXPECT_EQ(policy == Order::kComputeLast ? 1 : 0, order.front());
  }
}

TEST(VerifyExecutor, RanksMeetAndAverage) {
  float a[2] = {1, 2}, b[2] = {3, 6};
  std::vector<std::vector<Op>> ranks(2);
  ranks[0].push_back(all_reduce(a, 2));
  ranks[1].push_back(all_reduce(b, 2));
  std::mt19937_64 random(1);
  Findings findings;
  ASSERT_TRUE(execute(ranks, Order::kRandom, random, findings));
  for (const float* part : {a, b}) {
    EXPECT_EQ(2, part[0]);
    EXPECT_EQ(4, part[1]);
  }
}

TEST(VerifyExecutor, RanksThatDisagreeAreNamedAndNothingRuns) {
  float a[2] = {1, 2}, b[2] = {3, 6};
  for (int kind = 0; kind < 3; ++kind) {
    std::vector<std::vector<Op>> ranks(2);
    ranks[0].push_back(all_reduce(a, 2));
    if (kind < 2) ranks[1].push_back(kind == 0 ? all_reduce(b, 1) : all_reduce(b, 2, ESP_SUM));
    std::mt19937_64 random(1);
    Findings findings;
    EXPECT_FALSE(execute(ranks, Order::kRandom, random, findings));
    ASSERT_EQ(1u, findings.result().size());
    EXPECT_EQ("COMM-01", findings.result()[0].rule);
    EXPECT_EQ(1, a[0]);
  }
}

}  // namespace
}  // namespace esp::verify
