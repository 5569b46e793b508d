#include "contenders.hpp"

#include <gtest/gtest.h>

namespace esp::vit::fused {
namespace {

Contender contender(uint64_t name, std::vector<float> ms, bool fails = false) {
  Contender one;
  one.algorithm.data[0] = name;
  one.ms = std::move(ms);
  one.fails = fails;
  return one;
}

std::vector<uint64_t> names(const std::vector<Contender>& contenders) {
  std::vector<uint64_t> names;
  for (const Contender& one : contenders) names.push_back(one.algorithm.data[0]);
  return names;
}

using Names = std::vector<uint64_t>;

TEST(Contenders, AreSortedByTheirMediansNotByTheirBestTimes) {
  std::vector<Contender> all = {contender(1, {1, 9, 9}), contender(2, {5, 4, 6}), contender(3, {3, 3, 50})};
  keep_fastest(all, 100, 10);
  EXPECT_EQ(names(all), (Names{3, 2, 1}));
}

TEST(Contenders, StayWithinAFactorOfTheBest) {
  std::vector<Contender> all = {contender(1, {1.1f}), contender(2, {1.3f}), contender(3, {1.0f})};
  keep_fastest(all, 1.2f, 10);
  EXPECT_EQ(names(all), (Names{3, 1}));
}

TEST(Contenders, StayUpToANumber) {
  std::vector<Contender> all = {contender(1, {3}), contender(2, {1}), contender(3, {2})};
  keep_fastest(all, 100, 2);
  EXPECT_EQ(names(all), (Names{2, 3}));
}

TEST(Contenders, ThatFailOrWereNotTimedLeave) {
  std::vector<Contender> all = {contender(1, {1}, true), contender(2, {}), contender(3, {2})};
  keep_fastest(all, 100, 10);
  EXPECT_EQ(names(all), (Names{3}));
  all = {contender(1, {1}, true)};
  keep_fastest(all, 1, 1);
  EXPECT_TRUE(all.empty());
}

TEST(Contenders, BearTheirHandicaps) {
  std::vector<Contender> all = {contender(1, {1.0f}), contender(2, {1.1f})};
  all[0].handicap = 0.2f;
  keep_fastest(all, 1, 1);
  EXPECT_EQ(names(all), (Names{2}));
}

TEST(Contenders, OfEqualTimeKeepTheirOrder) {
  std::vector<Contender> all = {contender(4, {2}), contender(2, {2}), contender(9, {2})};
  keep_fastest(all, 1, 1);
  EXPECT_EQ(names(all), (Names{4}));
}

}  // namespace
}  // namespace esp::vit::fused
