#include <gtest/gtest.h>

#include <espalier/kit/param_cache.hpp>

#include "kit_host.hpp"

namespace {

using esp::kit::Block;
using esp::kit::BlockUses;
using esp::kit::Bucket;
using esp::kit::Layout;
using esp::kit::ParamCache;

// Blocks 0 to 3, one parameter of the toy each. A fetch fills a block with its number.
class ParamCacheTest : public ::testing::Test {
 protected:
  ParamCache cache(const BlockUses& train, const BlockUses& eval, bool ahead, uint32_t slots = 0) {
    ParamCache::Settings settings;
    settings.ahead = ahead;
    settings.slots = slots;
    const auto fetch = [this](const Block& block, void* destination, esp_stream stream) {
      fetched_.push_back(block.index);
      const size_t op = mock_.enqueue("fetch", stream, [&block, destination] {
        for (uint64_t i = 0; i < block.size(); ++i) {
          from_float(destination, i, ESP_F32, static_cast<float>(block.index));
        }
      });
      mock_.writes(op, destination, block.size() * sizeof(float), stream);
    };
    return ParamCache(rank_.host, layout_, train, eval, ESP_F32, rank_.binder, fetch, settings);
  }

  // A step in which each item reads its blocks where they are bound. Returns the blocks in the order of the fetches.
  std::vector<uint32_t> run(ParamCache& cache, const BlockUses& uses, uint32_t flags = 0) {
    fetched_.clear();
    mock_.fork();
    cache.begin_step(rank_.step_at(0, flags));
    std::vector<std::pair<uint32_t, float>> seen;  // block, first element
    for (uint32_t pos = 0; pos < uses.size(); ++pos) {
      cache.before(rank_.step_at(pos, flags));
      for (uint32_t block : uses[pos]) {
        const esp_bind bind = mock_.params.at(layout_.blocks()[block].places[0].param);
        const size_t op = mock_.enqueue("use", mock_.compute(), [&seen, block, bind] {
          seen.emplace_back(block, to_float(bind.data, 0, bind.dtype));
        });
        mock_.reads(op, bind.data, toy_.numel(bind.param) * sizeof(float), mock_.compute());
      }
    }
    mock_.join();
    for (const auto& [block, value] : seen) EXPECT_EQ(static_cast<float>(block), value);
    EXPECT_EQ(std::vector<std::string>(), mock_.violations);
    return fetched_;
  }

  MockWorld world_{1};
  KitHost rank_{world_};
  MockHost& mock_ = rank_.mock;
  const Toy toy_{1, false};
  const Layout layout_{
      toy_.view(),
      {Bucket{0, {Toy::kEmbedding}}, Bucket{0, {Toy::kWeight}}, Bucket{0, {Toy::kHead}}, Bucket{0, {Toy::kWeight2}}},
      64};
  std::vector<uint32_t> fetched_;
};

using Fetches = std::vector<uint32_t>;

TEST_F(ParamCacheTest, NeedsRoomForTheLargestUnitAndAheadForOneBlockMore) {
  const BlockUses train = {{0}, {1, 2}, {3}}, eval = {{0}, {1}};
  EXPECT_EQ(2u, ParamCache::slots_needed(train, eval, false));
  EXPECT_EQ(3u, ParamCache::slots_needed(train, eval, true));
  EXPECT_EQ(1u, ParamCache::slots_needed({{0}, {0}}, {}, true)) << "never more than there are blocks";
  EXPECT_EQ((std::set<uint32_t>{0, 1, 2, 3}), ParamCache::used_blocks(train, eval));
}

TEST_F(ParamCacheTest, HasTheSlotsAskedForButNeverFewerThanNeeded) {
  EXPECT_EQ(4u, cache({{0}, {1}, {2}, {3}}, {}, false, 4).slots());
  EXPECT_EQ(2u, cache({{0, 1}, {2}}, {}, false, 1).slots());
}

TEST_F(ParamCacheTest, FetchesWhenItIsNeededUnlessAhead) {
  const BlockUses uses = {{0}, {1}, {2}, {3}};
  ParamCache late = cache(uses, {}, false), early = cache(uses, {}, true);
  mock_.fork();
  fetched_.clear();
  late.begin_step(rank_.step_at(0));
  EXPECT_EQ(Fetches(), fetched_);
  early.begin_step(rank_.step_at(0));
  EXPECT_EQ((Fetches{0, 1}), fetched_) << "as many as there is room for";
  early.before(rank_.step_at(0));
  EXPECT_EQ((Fetches{0, 1}), fetched_) << "unit 0 is about to run in its slot";
  early.before(rank_.step_at(1));
  EXPECT_EQ((Fetches{0, 1, 2}), fetched_) << "behind unit 0";
}

TEST_F(ParamCacheTest, TheModelWaitsForWhatItUsesAndNotForWhatComesNext) {
  const BlockUses uses = {{0}, {1}, {2}};
  ParamCache blocks = cache(uses, {}, true);
  run(blocks, uses);
  const auto fetches = rank_.ops("fetch"), used = rank_.ops("use");
  ASSERT_EQ(3u, fetches.size());
  EXPECT_EQ(1u, mock_.ops[used[0]].after.count(fetches[0]));
  EXPECT_EQ(0u, mock_.ops[used[0]].after.count(fetches[1])) << "prefetch is waited for";
  EXPECT_EQ(1u, mock_.ops[used[1]].after.count(fetches[1]));
  EXPECT_EQ(1u, mock_.ops[fetches[2]].after.count(used[0])) << "the slot may be overwritten while it is read";
}

TEST_F(ParamCacheTest, TheBlockWhoseNextUseIsFarthestMakesRoom) {
  // At position 2 block 1, never used again, must go; block 0 stays for position 3.
  const BlockUses uses = {{0}, {1}, {2}, {0}};
  ParamCache blocks = cache(uses, {}, false, 2);
  EXPECT_EQ((Fetches{0, 1, 2}), run(blocks, uses));
  // Both are used again: block 1 later.
  const BlockUses longer = {{0}, {1}, {2}, {0}, {1}};
  ParamCache others = cache(longer, {}, false, 2);
  EXPECT_EQ((Fetches{0, 1, 2, 1}), run(others, longer));
}

TEST_F(ParamCacheTest, FetchingAheadDropsNothingThatIsUsedBefore) {
  const BlockUses uses = {{0}, {1}, {0}, {2}, {3}};
  ParamCache blocks = cache(uses, {}, true, 2);
  EXPECT_EQ((Fetches{0, 1, 2, 3}), run(blocks, uses));
}

TEST_F(ParamCacheTest, WhatIsThereIsNotFetchedAgain) {
  const BlockUses uses = {{0, 1}, {1, 2}, {2, 0}};
  for (bool ahead : {false, true}) {
    ParamCache blocks = cache(uses, {}, ahead, 3);
    EXPECT_EQ((Fetches{0, 1, 2}), run(blocks, uses));
  }
}

TEST_F(ParamCacheTest, EveryStepBeginsWithNothingAndDoesTheSame) {
  const BlockUses train = {{0}, {1}, {2}, {1}, {0}}, eval = {{3}, {0}};
  for (bool ahead : {false, true}) {
    ParamCache blocks = cache(train, eval, ahead);
    const Fetches first = run(blocks, train);
    EXPECT_EQ((Fetches{3, 0}), run(blocks, eval, ESP_STEP_EVAL));
    EXPECT_EQ(first, run(blocks, train)) << "a captured step must not depend on what was before";
  }
}

TEST_F(ParamCacheTest, AStepThatIsReplayedFetchesAgain) {
  const BlockUses uses = {{0}, {1}, {2}};
  ParamCache blocks = cache(uses, {}, true);
  float last = -1;
  mock_.fork();
  blocks.begin_step(rank_.step_at(0));
  for (uint32_t pos = 0; pos < 3; ++pos) blocks.before(rank_.step_at(pos));
  const esp_bind bind = mock_.params.at(Toy::kHead);
  mock_.enqueue("use", mock_.compute(), [&] { last = to_float(bind.data, 0, bind.dtype); });
  const MockHost::Segment step = mock_.join();
  from_float(bind.data, 0, bind.dtype, 77);
  mock_.replay(step);
  EXPECT_EQ(2.0f, last);
}

}  // namespace
