#include "runtime/train/memory_profile.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "runtime/plan/absent_ranks.hpp"

namespace esp::runtime {
namespace {

// Two units, two micro-batches one after the other, two recompute levels.
struct Case {
  esp_item train[8] = {{ESP_FWD, 0, 0, 0}, {ESP_FWD, 1, 0, 0}, {ESP_BWD, 1, 0, 0}, {ESP_BWD, 0, 0, 0},
                       {ESP_FWD, 0, 1, 0}, {ESP_FWD, 1, 1, 0}, {ESP_BWD, 1, 1, 0}, {ESP_BWD, 0, 1, 0}};
  uint64_t kept[4] = {100, 30, 10, 3};
  esp_view view{};
  esp_model_need need{};
  Case() {
    view.n_units = 2;
    view.n_train = 8;
    view.train = train;
    need.activation_bytes = kept;
    need.workspace_bytes = 1000;
  }
};

std::vector<uint64_t> others(const MemoryProfile& profile) {
  const esp_profile table = profile.table();
  return {table.other_bytes, table.other_bytes + table.n};
}

// Ranks that take more, or have a smaller budget.
class Richer final : public ControlGroup {
 public:
  int32_t rank() const override { return 0; }
  int32_t size() const override { return 2; }
  std::string broadcast(const std::string& bytes, int32_t) override { return bytes; }
  std::vector<std::string> all_gather(const std::string& bytes) override { return {bytes, bytes}; }
  void all_reduce(std::span<double> values, ControlOp op) override {
    for (double& value : values) value = op == ControlOp::kMax ? std::max(value, 1107.0) : std::min(value, 5000.0);
  }
  void barrier() override {}
};

TEST(MemoryProfile, FollowsWhatForwardKeepsUntilItsBackward) {
  const Case one;
  const std::vector<uint64_t> micro = {1100, 1130, 1130, 1100};
  std::vector<uint64_t> expected = micro;
  expected.insert(expected.end(), micro.begin(), micro.end());
  EXPECT_EQ(others(MemoryProfile(one.view, one.need, 0)), expected);
  EXPECT_EQ(others(MemoryProfile(one.view, one.need, 1))[1], 1013u);
}

TEST(MemoryProfile, RisesToThePeakThatWasSeenAndNeverSinks) {
  const Case one;
  MemoryProfile profile(one.view, one.need, 0);
  profile.observe(500);
  EXPECT_EQ(others(profile)[1], 1130u);
  profile.observe(1140);
  EXPECT_EQ(others(profile)[0], 1110u);
  EXPECT_EQ(others(profile)[1], 1140u);
  profile.add(7);
  EXPECT_EQ(others(profile)[1], 1147u);
}

TEST(MemoryProfile, LeavesTheStrategyWhatTheBudgetHoldsBesideTheLargest) {
  const Case one;
  const auto capacity = [&](uint64_t budget) {
    MemoryProfile profile(one.view, one.need, 0);
    const World alone = without_peers(0, 1);
    profile.agree(*alone.control, budget);
    return profile.table().capacity;
  };
  EXPECT_EQ(capacity(3000), 1870u);
  EXPECT_EQ(capacity(1129), 0u);
  EXPECT_EQ(capacity(0), std::numeric_limits<uint64_t>::max());
}

TEST(MemoryProfile, TakesTheLargestOfAllRanksAndTheSmallestBudget) {
  const Case one;
  Richer ranks;
  MemoryProfile profile(one.view, one.need, 0);
  profile.agree(ranks, 8000);
  EXPECT_EQ(others(profile)[0], 1107u) << "the other rank's";
  EXPECT_EQ(others(profile)[1], 1130u) << "its own";
  EXPECT_EQ(profile.table().capacity, 5000u - 1130u);
  profile.agree(ranks, 0);
  EXPECT_EQ(profile.table().capacity, 5000u - 1130u) << "a rank without a limit follows the others";
}

}  // namespace
}  // namespace esp::runtime
