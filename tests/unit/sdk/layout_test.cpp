#include <gtest/gtest.h>

#include <espalier/kit/layout.hpp>
#include <set>

#include "toy_run.hpp"

namespace {

using esp::kit::Bucket;
using esp::kit::buckets_by_last_use;
using esp::kit::Layout;
using esp::kit::Schedule;

std::vector<uint32_t> all_trainable(const esp_view& view) {
  std::vector<uint32_t> params;
  for (uint32_t id = 0; id < view.n_params; ++id) {
    if ((view.params[id]->flags & ESP_PARAM_TRAINABLE) != 0) params.push_back(id);
  }
  return params;
}

TEST(Schedule, FindsFirstAndLastUse) {
  const Toy toy(2, true);
  const Schedule schedule(toy.view());
  // FWD 0..3, BWD 3..0 for each of two micro-batches.
  EXPECT_EQ(0u, schedule.first_use(Toy::kEmbedding));
  EXPECT_EQ(15u, schedule.last_use(Toy::kEmbedding));
  EXPECT_EQ(1u, schedule.first_use(Toy::kWeight));
  EXPECT_EQ(14u, schedule.last_use(Toy::kWeight));
  EXPECT_EQ(0u, schedule.first_use(Toy::kTied)) << "used by the first and the last unit";
  EXPECT_EQ(15u, schedule.last_use(Toy::kTied));
  EXPECT_EQ(Schedule::kNowhere, schedule.last_use(Toy::kOrphan));
}

TEST(Schedule, RefusesAUnitThatUsesAnUnknownParameter) {
  const esp_unit unit = {sizeof unit, 0, "u", new uint32_t[1]{7}, 1, 0};
  const esp_unit* units[] = {&unit};
  const esp_item item = {ESP_FWD, 0, 0, 0};
  const esp_view view = {sizeof view, 0, 1, 1, 0, 0, nullptr, units, &item, nullptr};
  EXPECT_THROW(Schedule{view}, esp::Failure);
  delete[] unit.uses;
}

TEST(Buckets, AreOnePerUnitInTheOrderInWhichTheyBecomeFinal) {
  const Toy toy(2, true);
  const auto buckets = buckets_by_last_use(toy.view(), Schedule(toy.view()), all_trainable(toy.view()), 0);
  ASSERT_EQ(4u, buckets.size());
  EXPECT_EQ(12u, buckets[0].final_at);
  EXPECT_EQ((std::vector<uint32_t>{Toy::kHead}), buckets[0].params);
  EXPECT_EQ(13u, buckets[1].final_at);
  EXPECT_EQ(15u, buckets[3].final_at);
  EXPECT_EQ((std::vector<uint32_t>{Toy::kEmbedding, Toy::kTied, Toy::kOrphan}), buckets[3].params)
      << "a tied parameter waits for its last use, one that nobody uses for the end";
}

TEST(Buckets, AreMergedUpToTheSizeAskedFor) {
  const Toy toy(1, true);
  const Schedule schedule(toy.view());
  const auto params = all_trainable(toy.view());
  EXPECT_EQ(1u, buckets_by_last_use(toy.view(), schedule, params, 1u << 30).size());
  const auto pairs = buckets_by_last_use(toy.view(), schedule, params, toy.view().params[Toy::kHead]->numel + 1);
  ASSERT_GE(pairs.size(), 2u);
  EXPECT_EQ(5u, pairs[0].final_at) << "the head's bucket was too small alone and waits for its neighbour";
  for (size_t i = 0; i + 1 < pairs.size(); ++i) EXPECT_LT(pairs[i].final_at, pairs[i + 1].final_at);
}

TEST(Buckets, HoldEveryParameterOnce) {
  const Toy toy(3, true);
  for (uint64_t size : {0ull, 10ull, 100ull, 100000ull}) {
    std::multiset<uint32_t> seen;
    for (const Bucket& bucket :
         buckets_by_last_use(toy.view(), Schedule(toy.view()), all_trainable(toy.view()), size)) {
      seen.insert(bucket.params.begin(), bucket.params.end());
    }
    const auto params = all_trainable(toy.view());
    EXPECT_EQ(std::multiset<uint32_t>(params.begin(), params.end()), seen) << size;
  }
}

TEST(Layout, AlignsEveryParameterAndOverlapsNone) {
  const Toy toy(1, true);
  const Layout layout(toy.view(), buckets_by_last_use(toy.view(), Schedule(toy.view()), all_trainable(toy.view()), 0),
                      esp::kit::alignment_of(2));
  uint64_t end = 0;
  for (const auto& block : layout.blocks()) {
    EXPECT_EQ(end, block.begin);
    for (const auto& place : block.places) {
      EXPECT_EQ(0u, place.offset * 2 % 256);
      EXPECT_GE(place.offset, end);
      EXPECT_EQ(toy.view().params[place.param]->numel, place.numel);
      end = place.offset + place.numel;
    }
    EXPECT_LE(end, block.end);
    end = block.end;
  }
  EXPECT_EQ(end, layout.size());
}

TEST(Layout, HasNoPlaceForAParameterWithoutElements) {
  const Toy toy(1, true);
  const Layout layout(toy.view(), {{0, {Toy::kEmpty}}, {1, {Toy::kHead, Toy::kEmpty}}}, 64);
  ASSERT_EQ(1u, layout.blocks().size());
  EXPECT_EQ(0u, layout.blocks()[0].index);
  EXPECT_EQ(1u, layout.blocks()[0].places.size());
}

}  // namespace
