// Runs of every strategy at a world size, accumulation and clipping, and the oracle to hold them against: a replica in
// one process that accumulates what the ranks compute.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "golden_case.hpp"
#include "support/scratch.hpp"

namespace esp::test {

// In which order gradients are added; strategies of one kind agree bit for bit on up to two ranks.
enum class Order { kMicrosThenRanks, kRanksThenMicros };

struct Strategy {
  std::string name;
  Order order;
  nlohmann::json settings;
};

const std::vector<Strategy>& strategies();
const Strategy& strategy(const std::string& name);

struct Cell {
  std::string precision;
  int world;
  int accumulation;
  bool clip;
};

// What GoogleTest calls a cell.
std::string name_of(const ::testing::TestParamInfo<Cell>& info);

// One micro-batch a rank at world 1 or 2: a + b = b + a and halving is exact, so that one process adds in the same
// order.
inline bool has_the_order_of_one_process(const Cell& cell) {
  return cell.world == 1 || (cell.world == 2 && cell.accumulation == 1);
}

class Matrix : public ::testing::TestWithParam<Cell> {
 protected:
  explicit Matrix(size_t steps = 3) : steps_(steps) {}

  // The global batch is the same for every run of a cell, so each computes the same steps.
  HostRun run(const std::string& name, int nproc, int accumulation, const nlohmann::json& strategy,
              const std::string& precision) const;
  HostRun run(const Strategy& strategy) const {
    return run(strategy.name, GetParam().world, GetParam().accumulation, strategy.settings, GetParam().precision);
  }
  // One process of a replica.
  HostRun oracle(const std::string& precision, const Strategy& replica = strategies().front()) const;

  bool is_complete(const HostRun& run) const { return run.outcome.exit_code == 0 && run.folder.steps.size() == steps_; }
  void expect_equal_bits(const HostRun& expected, const HostRun& actual) const;
  void expect_close(const HostRun& expected, const HostRun& actual, double tolerance) const;
  // The test of a cell in fp32.
  void expect_every_strategy_equals_the_oracle() const;

  const size_t steps_;

 private:
  const Scratch scratch_;
};

}  // namespace esp::test
