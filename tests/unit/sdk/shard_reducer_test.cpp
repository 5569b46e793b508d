// Gradients of two ranks, block by block, into parts of their mean.
#include <gtest/gtest.h>

#include <espalier/kit/shard_reducer.hpp>
#include <espalier/kit/sharding.hpp>
#include <memory>
#include <thread>

#include "kit_host.hpp"

namespace {

using esp::kit::Block;
using esp::kit::Piece;
using esp::kit::Sharding;
using esp::kit::ShardReducer;

constexpr int kRanks = 2;

// What one use of an element adds: whole numbers, exact in every dtype and order.
float part_of(uint32_t param, uint64_t i, uint32_t unit, uint32_t micro, int rank) {
  return static_cast<float>(4 * (static_cast<int>(param + i % 5 + unit) + 3 * static_cast<int>(micro) - 7 * rank));
}

// A rank whose model writes gradients like these where they are bound.
struct Rank {
  Rank(MockWorld& world, int number, const Toy& model, esp_dtype dtype)
      : host(world, number, MockUpdate(), ESP_MODE_TRAIN, dtype == ESP_BF16 ? ESP_PRECISION_BF16 : ESP_PRECISION_FP32),
        toy(model),
        rank(number) {
    sharding.plan(toy.view());
    sharding.lay_out(toy.view());
    reducer =
        std::make_unique<ShardReducer>(host.host, sharding.group, sharding.layout, sharding.n_trained, sharding.windows,
                                       sharding.partition, dtype, host.binder, host.host.device.new_stream());
  }

  void record() {
    host.mock.fork();
    reducer->begin_step();
    for (uint32_t pos = 0; pos < toy.view().n_train; ++pos) {
      const esp_item& item = toy.view().train[pos];
      if (item.phase != ESP_BWD) continue;
      reducer->open(host.step_at(pos));
      host.mock.grads()->seen.insert(host.mock.compute()->seen);
      const esp_unit& unit = *toy.view().units[item.unit];
      for (uint32_t u = 0; u < unit.n_uses; ++u) write(unit.uses[u], item);
      reducer->close(host.step_at(pos));
    }
  }

  void write(uint32_t param, const esp_item& item) {
    const auto bound = host.mock.gradients.find(param);
    if (bound == host.mock.gradients.end()) return;
    const esp_bind bind = bound->second;
    const bool first = host.mock.unwritten.erase(param) > 0;
    const uint64_t n = toy.numel(param);
    const size_t op = host.mock.enqueue("gradients", host.mock.grads(), [param, item, bind, first, n, number = rank] {
      for (uint64_t i = 0; i < n; ++i) {
        const float part = part_of(param, i, item.unit, item.micro, number);
        from_float(bind.data, i, bind.dtype, first ? part : part + to_float(bind.data, i, bind.dtype));
      }
    });
    host.mock.writes(op, bind.data, n * ESP_DTYPE_BYTES(bind.dtype), host.mock.grads());
  }

  KitHost host;
  const Toy& toy;
  const int rank;
  Sharding sharding{host.host};
  std::unique_ptr<ShardReducer> reducer;
};

// The mean over ranks of all that is added to an element in a step.
float expected(const Toy& toy, uint32_t param, uint64_t i) {
  float sum = 0;
  for (uint32_t pos = 0; pos < toy.view().n_train; ++pos) {
    const esp_item& item = toy.view().train[pos];
    if (item.phase != ESP_BWD) continue;
    const esp_unit& unit = *toy.view().units[item.unit];
    for (uint32_t u = 0; u < unit.n_uses; ++u) {
      for (int rank = 0; unit.uses[u] == param && rank < kRanks; ++rank) {
        sum += part_of(param, i, item.unit, item.micro, rank);
      }
    }
  }
  return sum / kRanks;
}

class ShardReducerTest : public ::testing::TestWithParam<std::tuple<uint32_t, esp_dtype>> {
 protected:
  const uint32_t n_micro_ = std::get<0>(GetParam());
  const esp_dtype dtype_ = std::get<1>(GetParam());
  const Toy toy_{n_micro_, true};
  MockWorld world_{kRanks};
  Rank first_{world_, 0, toy_, dtype_}, second_{world_, 1, toy_, dtype_};

  void step() {
    std::vector<std::thread> threads;
    for (Rank* rank : {&first_, &second_}) {
      rank->record();
      threads.emplace_back([rank] { rank->host.mock.join(); });
    }
    for (std::thread& thread : threads) thread.join();
  }
};
INSTANTIATE_TEST_SUITE_P(MicrosAndDtypes, ShardReducerTest,
                         ::testing::Combine(::testing::Values(1u, 3u), ::testing::Values(ESP_F32, ESP_BF16)));

TEST_P(ShardReducerTest, EachRankEndsWithItsPartOfTheMean) {
  for (int times = 0; times < 2; ++times) {
    step();
    for (const Rank* rank : {&first_, &second_}) {
      EXPECT_EQ(std::vector<std::string>(), rank->host.mock.violations);
      const Sharding& sharding = rank->sharding;
      sharding.for_trained([&](const Block& block) {
        const void* shard = rank->reducer->shard(block);
        for (const Piece& piece : sharding.partition.own(block)) {
          for (uint64_t i = 0; i < piece.n; ++i) {
            const float value =
                to_float(shard, piece.at - sharding.partition.begin(block) + i, rank->reducer->shard_dtype());
            ASSERT_EQ(expected(toy_, piece.param, piece.offset + i), value)
                << "parameter " << piece.param << ", element " << piece.offset + i;
          }
        }
      });
    }
  }
}

TEST_P(ShardReducerTest, AddsHalvesOfSeveralMicroBatchesInFp32) {
  EXPECT_EQ(n_micro_ > 1 ? ESP_F32 : dtype_, first_.reducer->shard_dtype());
}

TEST_P(ShardReducerTest, HoldsWholeGradientsOnlyInAFewSlots) {
  uint64_t whole = 0, largest = 0, n_slots = 0, parts = 0;
  first_.sharding.for_trained([&](const Block& block) {
    whole += block.size();
    largest = std::max(largest, block.size());
  });
  for (const auto& [address, allocation] : first_.host.mock.allocations) {
    if (allocation.tag == ESP_TAG_GRAD) parts += allocation.bytes;
    if (allocation.tag != ESP_TAG_BUCKET) continue;
    ++n_slots;
    EXPECT_EQ(largest * ESP_DTYPE_BYTES(dtype_), allocation.bytes);
    EXPECT_NE(0u, allocation.flags & ESP_MEM_COMM);
  }
  EXPECT_EQ(3u, n_slots) << "two are open at once, one is reduced";
  EXPECT_EQ(whole / kRanks * ESP_DTYPE_BYTES(first_.reducer->shard_dtype()), parts);
}

TEST_P(ShardReducerTest, ReducesEachBlockOncePerMicroBatchWhileTheModelGoesOn) {
  step();
  const auto reductions = first_.host.ops("reduce_scatter");
  EXPECT_EQ(5u * n_micro_, reductions.size()) << "four units and the tied pair; not the orphan";
  const size_t next = reductions[0] + 1;
  for (size_t op : first_.host.ops("gradients")) {
    if (op < next) continue;
    EXPECT_EQ(0u, first_.host.mock.ops[op].after.count(reductions[0])) << "the model waits for the reduction";
    break;
  }
}

}  // namespace
