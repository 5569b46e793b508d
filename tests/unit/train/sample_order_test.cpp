#include "runtime/train/sample_order.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace esp::runtime {
namespace {

TEST(SampleOrder, IsAPermutationThatDependsOnSeedAndEpochAlone) {
  const auto order = epoch_order(1034, 42, 3, true);
  EXPECT_EQ(order, epoch_order(1034, 42, 3, true));
  EXPECT_NE(order, epoch_order(1034, 42, 4, true));
  EXPECT_NE(order, epoch_order(1034, 43, 3, true));
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, epoch_order(1034, 42, 3, false));
}

TEST(SampleOrder, PutsEachSampleFirstAboutEquallyOften) {
  std::vector<int> first(5);
  for (uint64_t epoch = 0; epoch < 5000; ++epoch) ++first[epoch_order(5, 1, epoch, true).front()];
  for (const int count : first) EXPECT_NEAR(count, 1000, 150);
}

// Whatever the world size and accumulation, the ranks together see positions [kG, (k+1)G) once each, in the same order
// of micro-batches.
TEST(BatchCut, EveryWorldSizeSeesTheSameGlobalStep) {
  for (const uint64_t world : {1, 2, 3, 4}) {
    BatchCut cut{103, 24, 24 / world / 2, world, false};
    ASSERT_EQ(cut.steps_per_epoch(), 5u);
    for (uint64_t step = 0; step < 5; ++step) {
      uint64_t next = step * 24;
      for (uint64_t micro = 0; micro < 2; ++micro) {
        for (uint64_t rank = 0; rank < world; ++rank) {
          const Slice slice = micro_slice(cut, step, micro, rank);
          EXPECT_EQ(slice.first, next);
          next += slice.count;
        }
      }
      EXPECT_EQ(next, std::min<uint64_t>((step + 1) * 24, 103));
    }
  }
}

TEST(BatchCut, LastShortStepLeavesSomeRanksWithoutSamples) {
  const BatchCut cut{10, 8, 4, 2, false};
  EXPECT_EQ(cut.samples_in_step(1), 2u);
  EXPECT_EQ(micro_slice(cut, 1, 0, 0).count, 2u);
  EXPECT_EQ(micro_slice(cut, 1, 0, 1).count, 0u);
  EXPECT_EQ(micro_slice(cut, 1, 0, 1).first, 10u);
}

TEST(BatchCut, DropLastDropsTheShortStep) { EXPECT_EQ((BatchCut{10, 8, 4, 2, true}.steps_per_epoch()), 1u); }

}  // namespace
}  // namespace esp::runtime
