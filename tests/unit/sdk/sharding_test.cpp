// Who owns what, in which dtype, and in which order.
#include <gtest/gtest.h>

#include <espalier/kit/fence.hpp>
#include <espalier/kit/loss_scaling.hpp>
#include <espalier/kit/sharding.hpp>

#include "kit_host.hpp"

namespace {

using esp::kit::Block;
using esp::kit::Sharding;

TEST(Sharding, LaysTrainedBlocksBeforeFrozenOnesAndDividesThemByTheRanks) {
  MockWorld world(3);
  KitHost rank(world, 1);
  const Toy toy(2, true);
  Sharding sharding(rank.host);
  sharding.plan(toy.view());
  sharding.lay_out(toy.view());
  EXPECT_EQ(6u, sharding.n_trained) << "four units, the tied pair, the orphan";
  ASSERT_EQ(7u, sharding.layout.blocks().size());
  for (const Block& block : sharding.layout.blocks()) {
    EXPECT_EQ(0u, block.size() % 3);
    EXPECT_EQ(sharding.trained(block), block.places[0].param != Toy::kFrozen);
  }
  EXPECT_FALSE(sharding.alone());
}

TEST(Sharding, FinishesEveryTrainedBlockOnceOrNeverReachesIt) {
  MockWorld world(2);
  KitHost rank(world);
  for (uint32_t n_micro : {1u, 3u}) {
    const Toy toy(n_micro, true);
    Sharding sharding(rank.host);
    sharding.plan(toy.view());
    sharding.lay_out(toy.view());
    std::map<uint32_t, int> times;
    for (uint32_t pos = 0; pos < toy.view().n_train; ++pos) {
      sharding.for_finished(pos, [&](const Block& block) { ++times[block.index]; });
    }
    EXPECT_EQ(sharding.n_trained - 1, times.size());
    sharding.for_unreached([&](const Block& block) {
      ++times[block.index];
      EXPECT_EQ(static_cast<uint32_t>(Toy::kOrphan), block.places[0].param);
    });
    sharding.for_trained([&](const Block& block) { EXPECT_EQ(1, times[block.index]) << block.index; });
  }
}

TEST(Sharding, TrainsNothingInInference) {
  MockWorld world(2);
  KitHost rank(world, 0, MockUpdate(), ESP_MODE_INFER);
  const Toy toy(1, true);
  Sharding sharding(rank.host);
  const esp_plan plan = sharding.plan(toy.view());
  sharding.lay_out(toy.view());
  EXPECT_NE(0u, plan.caps & ESP_CAP_INFER);
  EXPECT_EQ(0u, sharding.n_trained);
  uint64_t elements = 0;
  for (const Block& block : sharding.layout.blocks()) {
    for (const auto& place : block.places) elements += place.numel;
  }
  for (uint32_t param = 0; param < Toy::kParams; ++param) elements -= toy.numel(param);
  EXPECT_EQ(0u, elements) << "every parameter has a place";
}

TEST(Sharding, RefusesATrainingStepOfNothing) {
  MockWorld world(1);
  KitHost rank(world);
  const Toy toy(0, true);
  Sharding sharding(rank.host);
  EXPECT_THROW(sharding.plan(toy.view()), esp::Failure);
}

TEST(Precision, IsTheOneAskedForElseTheStrategysOwn) {
  esp_run run{};
  const std::pair<uint32_t, esp_dtype> asked[] = {{ESP_PRECISION_FP32, ESP_F32},
                                                  {ESP_PRECISION_TF32, ESP_F32},
                                                  {ESP_PRECISION_BF16, ESP_BF16},
                                                  {ESP_PRECISION_FP16, ESP_F16}};
  for (const auto& [precision, dtype] : asked) {
    run.precision = precision;
    EXPECT_EQ(dtype, esp::kit::compute_dtype(run, ESP_PRECISION_FP32));
    run.precision = ESP_PRECISION_DEFAULT;
    EXPECT_EQ(dtype, esp::kit::compute_dtype(run, precision));
  }
  run.precision = 99;
  EXPECT_THROW(esp::kit::compute_dtype(run, ESP_PRECISION_FP32), esp::Failure);
}

TEST(LossScaling, HasDeepSpeedsDefaults) {
  esp_plan plan{};
  esp::kit::LossScaling().write_to(plan);
  EXPECT_EQ(65536.0f, plan.scale_init);
  EXPECT_EQ(1.0f, plan.scale_min);
  EXPECT_EQ(1000u, plan.scale_window);
  EXPECT_EQ(2u, plan.scale_hysteresis);
}

TEST(Fence, OrdersWhatWasEnqueuedBeforeItAndNothingElse) {
  MockWorld world(1);
  KitHost rank(world);
  const esp::kit::Fence fence(rank.host.device);
  const esp_stream side = rank.host.device.new_stream();
  rank.mock.fork();
  const size_t before = rank.mock.enqueue("before", rank.mock.compute());
  fence.order(rank.mock.compute(), side);
  const size_t behind = rank.mock.enqueue("behind", rank.mock.compute());
  const size_t later = rank.mock.enqueue("later", side);
  EXPECT_EQ(1u, rank.mock.ops[later].after.count(before));
  EXPECT_EQ(0u, rank.mock.ops[later].after.count(behind));
  fence.order(side, side);
  EXPECT_EQ(1u, rank.mock.waits.size()) << "a stream need not wait for itself";
}

}  // namespace
