#include <gtest/gtest.h>

#include <espalier/kit/block_schedule.hpp>
#include <set>

#include "toy_run.hpp"

namespace {

using esp::kit::Block;
using esp::kit::buckets_by_users;
using esp::kit::Layout;
using esp::kit::Partition;
using esp::kit::Piece;
using esp::kit::Schedule;
using esp::kit::Window;
using esp::kit::Windows;

constexpr uint64_t kAlignment = 64;

std::vector<uint32_t> trainable(const Toy& toy) {
  std::vector<uint32_t> params;
  for (uint32_t id = 0; id < Toy::kParams; ++id) {
    if (toy.trainable(id)) params.push_back(id);
  }
  return params;
}

Layout layout_of(const Toy& toy, uint64_t ranks) {
  return Layout(toy.view(), buckets_by_users(toy.view(), Schedule(toy.view()), trainable(toy)), kAlignment, ranks);
}

TEST(BucketsByUsers, KeepTiedAndOrphanedParametersApart) {
  const Toy toy(1, true);
  const auto buckets = buckets_by_users(toy.view(), Schedule(toy.view()), trainable(toy));
  ASSERT_EQ(6u, buckets.size()) << "four units, the tied one, the orphan";
  EXPECT_EQ((std::vector<uint32_t>{Toy::kHead}), buckets[0].params);
  EXPECT_EQ((std::vector<uint32_t>{Toy::kEmbedding}), buckets[3].params);
  EXPECT_EQ((std::vector<uint32_t>{Toy::kTied}), buckets[4].params);
  EXPECT_EQ((std::vector<uint32_t>{Toy::kOrphan}), buckets[5].params);
  EXPECT_EQ(Schedule::kNowhere, buckets[5].final_at);
}

TEST(Partition, CutsEveryBlockIntoEqualAlignedPartsThatCoverItOnce) {
  const Toy toy(1, true);
  for (uint64_t ranks : {1u, 2u, 3u, 5u}) {
    const Layout layout = layout_of(toy, ranks);
    std::map<uint32_t, std::set<uint64_t>> covered;
    for (uint64_t rank = 0; rank < ranks; ++rank) {
      const Partition partition(rank, ranks);
      uint64_t at = 0;
      for (const Block& block : layout.blocks()) {
        EXPECT_EQ(at, partition.at(block)) << "parts follow one another";
        EXPECT_EQ(0u, partition.begin(block) % kAlignment);
        at += partition.size(block);
        for (const Piece& piece : partition.own(block)) {
          EXPECT_GE(piece.at, partition.begin(block));
          EXPECT_LE(piece.at + piece.n, partition.begin(block) + partition.size(block));
          for (uint64_t i = 0; i < piece.n; ++i) EXPECT_TRUE(covered[piece.param].insert(piece.offset + i).second);
        }
      }
      EXPECT_EQ(at, partition.size(layout));
    }
    for (uint32_t param : trainable(toy)) EXPECT_EQ(toy.view().params[param]->numel, covered[param].size()) << param;
  }
}

TEST(Windows, LastFromTheFirstBackwardOfAMicroBatchToItsLast) {
  const Toy toy(2, true);  // FWD 0..3, BWD 3..0, twice
  const Layout layout = layout_of(toy, 1);
  const Windows windows(toy.view(), layout, 6);
  const auto& head = windows.opens(4);
  ASSERT_EQ(2u, head.size()) << "the head's block and the tied one";
  EXPECT_EQ(4u, head[0].close_at);
  EXPECT_TRUE(head[0].first);
  EXPECT_FALSE(head[0].last);
  EXPECT_EQ(7u, head[1].close_at) << "the tied block stays open down to the first unit";
  ASSERT_EQ(2u, windows.closes(15).size());
  EXPECT_TRUE(windows.closes(15)[1].last);
  EXPECT_EQ(2u, windows.count(0));
  EXPECT_EQ(0u, windows.count(5)) << "no backward touches the orphan";
  EXPECT_EQ(2u, windows.most_open());
}

TEST(Windows, OfMicroBatchesThatOverlapInABlockAreOne) {
  const uint32_t uses[] = {0};
  const int64_t shape[] = {4};
  const esp_param param = {sizeof param, 0, "p", shape, 1, ESP_PARAM_TRAINABLE, 4, 0, 0};
  const esp_unit unit = {sizeof unit, 0, "u", uses, 1, 0};
  const esp_param* params[] = {&param};
  const esp_unit* units[] = {&unit, &unit};
  const esp_item items[] = {{ESP_BWD, 1, 0, 0}, {ESP_BWD, 1, 1, 0}, {ESP_BWD, 0, 0, 0}, {ESP_BWD, 0, 1, 0}};
  const esp_view view = {sizeof view, 1, 2, 4, 0, 0, params, units, items, nullptr};
  const Layout layout(view, {{3, {0}}}, kAlignment);
  const Windows windows(view, layout, 1);
  EXPECT_EQ(1u, windows.count(0));
  ASSERT_EQ(1u, windows.opens(0).size());
  EXPECT_EQ(3u, windows.opens(0)[0].close_at);
}

}  // namespace
