// What the optimizer works on, and how it is listed.
#include <gtest/gtest.h>

#include <espalier/kit/shard_set.hpp>
#include <espalier/kit/state_emitter.hpp>
#include <espalier/kit/update_list.hpp>

#include "kit_host.hpp"

namespace {

using esp::kit::ShardSet;

class ShardSetTest : public ::testing::Test {
 protected:
  const esp_update_desc& desc() const { return rank_.host.update.desc(); }

  MockWorld world_{1};
  KitHost rank_{world_};
};

TEST_F(ShardSetTest, HoldsMastersAndSlotsOfItsSizeWhereItIsTold) {
  for (uint32_t place : {ESP_DEVICE, ESP_PINNED}) {
    const uint64_t before = rank_.mock.allocated[place][ESP_TAG_OPTIMIZER];
    const ShardSet set(rank_.host.memory, desc(), 640, place, nullptr, 0);
    EXPECT_EQ(640u * (4 + 4), rank_.mock.allocated[place][ESP_TAG_OPTIMIZER] - before);
    EXPECT_TRUE(set.holds_masters());
    EXPECT_EQ(static_cast<char*>(set.master(0)) + 4 * 65, set.master(65));
    EXPECT_EQ(static_cast<char*>(set.slot(0, 0)) + 4 * 65, set.slot(0, 65));
    EXPECT_STREQ("momentum", set.slot_name(0));
    EXPECT_EQ(1u, set.n_slots());
  }
}

TEST_F(ShardSetTest, TakesNoMemoryForMastersThatAreElsewhere) {
  float weights[64];
  const ShardSet set(rank_.host.memory, desc(), 64, ESP_DEVICE, weights, 0);
  EXPECT_EQ(64u * 4, rank_.mock.allocated[ESP_DEVICE][ESP_TAG_OPTIMIZER]) << "the slot alone";
  EXPECT_FALSE(set.holds_masters());
  EXPECT_EQ(weights + 7, set.master(7));
}

TEST_F(ShardSetTest, LayoutsAreAlignedByTheSmallestElementOfAll) {
  EXPECT_EQ(4u, esp::kit::smallest_element(ESP_F32, desc()));
  EXPECT_EQ(2u, esp::kit::smallest_element(ESP_F16, desc()));
  const esp_slot half = {sizeof half, ESP_BF16, "exp_avg"};
  const esp_slot* slots[] = {&half};
  const esp_update_desc other = {sizeof other, 0, ESP_F32, 1, slots};
  EXPECT_EQ(2u, esp::kit::smallest_element(ESP_F32, other));
}

TEST_F(ShardSetTest, UpdateRangesKeepTheirAddresses) {
  const ShardSet set(rank_.host.memory, desc(), 6400, ESP_DEVICE, nullptr, 0);
  float gradient = 0;
  esp::kit::UpdateList list;
  for (uint32_t i = 0; i < 100; ++i) list.add(i, 3, 7, set, 64 * i, &gradient, ESP_F32, nullptr, ESP_BF16);
  esp::kit::UpdateList moved = std::move(list);
  ASSERT_EQ(100u, moved.ranges().size());
  for (uint32_t i = 0; i < 100; ++i) {
    const esp_range& range = *moved.ranges().data()[i];
    EXPECT_EQ(i, range.param);
    EXPECT_EQ(3u, range.offset);
    EXPECT_EQ(7u, range.n);
    EXPECT_EQ(set.master(64 * i), range.master);
    EXPECT_EQ(set.slot(0, 64 * i), range.slots[0]);
    EXPECT_EQ(&gradient, range.grad);
    EXPECT_EQ(nullptr, range.out);
  }
}

TEST_F(ShardSetTest, IsListedSlotBySlot) {
  const ShardSet set(rank_.host.memory, desc(), 640, ESP_DEVICE, nullptr, 0);
  std::vector<esp_shard> listed;
  const auto add = [](void* ctx, const esp_shard* shard, esp_error*) -> esp_status {
    static_cast<std::vector<esp_shard>*>(ctx)->push_back(*shard);
    return ESP_OK;
  };
  const esp_shard_sink table = {sizeof table, 0, &listed, add};
  const esp::ShardSink sink(table);
  const esp::kit::StateEmitter emitter(sink, ESP_SHARD_REPLICATED);
  emitter.owned(5, 10, 20, set, 64);
  uint16_t elsewhere[10];
  emitter.weights(6, 0, 10, elsewhere, ESP_BF16);
  ASSERT_EQ(3u, listed.size());
  EXPECT_STREQ("param", listed[0].slot);
  EXPECT_EQ(set.master(64), listed[0].data);
  EXPECT_STREQ("momentum", listed[1].slot);
  EXPECT_EQ(set.slot(0, 64), listed[1].data);
  EXPECT_EQ(10u, listed[1].lo);
  EXPECT_EQ(20u, listed[1].hi);
  EXPECT_EQ(elsewhere, listed[2].data);
  EXPECT_EQ(ESP_BF16, listed[2].dtype);
  for (const esp_shard& shard : listed) {
    EXPECT_EQ(ESP_SHARD_REPLICATED, shard.flags);
    EXPECT_EQ(sizeof(esp_shard), shard.struct_size);
  }
}

}  // namespace
