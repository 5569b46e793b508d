// The hooks of replicated data parallelism, without a library around them. What they come to: replica_test.cpp.
#include <gtest/gtest.h>

#include <espalier/kit/data_parallel.hpp>

#include "kit_host.hpp"

namespace {

class Strategy : public esp::kit::DataParallel {
 public:
  using DataParallel::blocks;
  using DataParallel::DataParallel;
};

// The names of what the hooks of one backward enqueue, the model's own work left out.
class DataParallelTest : public ::testing::Test {
 protected:
  std::vector<std::string> hooks(int ranks, uint32_t flags, uint64_t bucket_bytes = 0) {
    MockWorld world(ranks);
    MockUpdate update;
    update.flags = flags;
    KitHost rank(world, 0, update);
    const Toy toy(1, true);
    Strategy strategy(rank.host, {bucket_bytes});
    strategy.plan(toy.view());
    strategy.prepare(toy.view(), rank.binder);
    n_blocks_ = strategy.blocks().size();
    rank.mock.fork();
    for (uint32_t pos = 0; pos < toy.view().n_train; ++pos) {
      if (toy.view().train[pos].phase == ESP_BWD) {
        strategy.post_backward(rank.step_at(pos), toy.view().train[pos].unit);
      }
    }
    strategy.end_pass(rank.step_at(toy.view().n_train - 1));
    rank.mock.drop();  // the other ranks are not there
    std::vector<std::string> names;
    for (const MockHost::Op& op : rank.mock.ops) {
      if (names.empty() || names.back() != op.what) names.push_back(op.what);
    }
    return names;
  }

  size_t n_blocks_ = 0;
};

using Names = std::vector<std::string>;

TEST_F(DataParallelTest, AveragesCountsAndUpdatesBucketByBucket) {
  Names expected;
  for (int i = 0; i < 4; ++i) expected.insert(expected.end(), {"all_reduce", "norm_add", "apply"});
  expected.push_back("norm_finish");
  EXPECT_EQ(expected, hooks(2, ESP_UPDATE_NORM));
  EXPECT_EQ(4u, n_blocks_);
}

TEST_F(DataParallelTest, UpdatesBehindTheNormOfAllBucketsWhereItMust) {
  Names expected;
  for (int i = 0; i < 4; ++i) expected.insert(expected.end(), {"all_reduce", "norm_add"});
  expected.insert(expected.end(), {"norm_finish", "apply"});
  EXPECT_EQ(expected, hooks(2, ESP_UPDATE_NORM | ESP_UPDATE_BARRIER));
}

TEST_F(DataParallelTest, AloneAndWithoutANormOnlyUpdates) { EXPECT_EQ(Names{"apply"}, hooks(1, 0)); }

TEST_F(DataParallelTest, MergesNeighboursUntilABucketIsLargeEnough) {
  EXPECT_EQ((Names{"all_reduce", "apply"}), hooks(2, 0, 1u << 20));
  EXPECT_EQ(1u, n_blocks_);
  hooks(2, 0, 3000);
  EXPECT_GT(n_blocks_, 1u);
  EXPECT_LT(n_blocks_, 4u);
}

}  // namespace
