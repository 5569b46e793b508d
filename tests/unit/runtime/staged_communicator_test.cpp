// On the CPU device, which has both places, too: what is missing here of a GPU is only its speed.
#include "runtime/comm/staged_communicator.hpp"

#include <c10/util/BFloat16.h>

#include <cmath>
#include <numeric>

#include "race_suppressions.hpp"
#include "ranks.hpp"
#include "rig.hpp"
#include "runtime/comm/gloo_group.hpp"

namespace esp::runtime::test {
namespace {

constexpr uint64_t kN = 1003;

float value(uint64_t rank, uint64_t i) {
  return std::sin(static_cast<float>(i * 7 + rank * 131)) * static_cast<float>(rank + 1);
}

struct Peer {
  explicit Peer(const RankFacts& facts, double timeout_s = 30) : size(static_cast<uint64_t>(facts.world)) {
    GroupFacts group{"data", facts.rank, std::vector<int32_t>(size)};
    std::iota(group.members.begin(), group.members.end(), 0);
    std::shared_ptr<GlooStore> store;
    std::unique_ptr<GlooGroup> gloo;
    if (size > 1) {
      store = GlooStore::open(facts, timeout_s);
      gloo = store->group("data", facts.rank, facts.world);
    }
    all = std::make_unique<StagedCommunicator>(
        *device, std::make_unique<HostCollectives>(store, std::move(gloo), std::move(group)));
  }
  ~Peer() { device->drain(); }
  template <class T>
  std::span<T> array(uint64_t n, uint32_t place = ESP_DEVICE) {
    return {static_cast<T*>(arena.alloc(place, n * sizeof(T), ESP_TAG_OTHER)), n};
  }
  Stream& compute() { return device->compute(); }
  // All ranks are done: rank 0 serves the store.
  void finish() {
    device->sync(compute());
    auto here = array<float>(1);
    all->all_reduce(here.data(), here.data(), 1, ESP_F32, ESP_SUM, compute());
    device->sync(compute());
  }

  uint64_t size;
  std::unique_ptr<Device> device = make_cpu_device(1);
  Arena arena{device->memory(), "test"};
  std::unique_ptr<StagedCommunicator> all;
};

class StagedRanks : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(By, StagedRanks, ::testing::Values(1, 2, 3));

TEST_P(StagedRanks, AllReduceSumsApartAndAveragesInPlace) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    const auto rank = static_cast<uint64_t>(facts.rank);
    auto in = me.array<float>(kN), sum = me.array<float>(kN), mean = me.array<float>(kN);
    for (uint64_t i = 0; i < kN; ++i) in[i] = mean[i] = value(rank, i);
    me.all->all_reduce(in.data(), sum.data(), kN, ESP_F32, ESP_SUM, me.compute());
    me.all->all_reduce(mean.data(), mean.data(), kN, ESP_F32, ESP_AVG, me.compute());
    me.device->sync(me.compute());
    for (uint64_t i = 0; i < kN; ++i) {
      double total = 0;
      for (uint64_t r = 0; r < me.size; ++r) total += value(r, i);
      ASSERT_EQ(in[i], value(rank, i)) << "the input changed";
      ASSERT_NEAR(sum[i], total, 1e-6);
      ASSERT_NEAR(mean[i], total / static_cast<double>(me.size), 1e-6);
      if (me.size == 2) {
        ASSERT_EQ(sum[i], value(0, i) + value(1, i));
      }
    }
    me.finish();
  });
}

TEST_P(StagedRanks, ReduceScatterAndAllGatherWorkApartAndInPlace) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    const auto rank = static_cast<uint64_t>(facts.rank);
    auto in = me.array<float>(kN * me.size), out = me.array<float>(kN), again = me.array<float>(kN * me.size);
    auto bytes = me.array<uint8_t>(3 * me.size);
    auto half = me.array<c10::BFloat16>(kN), halves = me.array<c10::BFloat16>(kN * me.size);
    for (uint64_t i = 0; i < in.size(); ++i) in[i] = again[i] = value(rank, i);
    for (uint64_t i = 0; i < kN; ++i) half[i] = value(rank, i);
    for (uint64_t i = 0; i < 3; ++i) bytes[rank * 3 + i] = static_cast<uint8_t>(10 * rank + i);
    me.all->reduce_scatter(in.data(), out.data(), kN, ESP_F32, ESP_SUM, me.compute());
    me.all->reduce_scatter(again.data(), again.data() + rank * kN, kN, ESP_F32, ESP_AVG, me.compute());
    me.all->all_gather(bytes.data() + rank * 3, bytes.data(), 3, ESP_U8, me.compute());
    me.all->all_gather(half.data(), halves.data(), kN, ESP_BF16, me.compute());
    me.all->all_gather(half.data(), halves.data(), 0, ESP_BF16, me.compute());
    me.device->sync(me.compute());
    for (uint64_t i = 0; i < in.size(); ++i) ASSERT_EQ(in[i], value(rank, i)) << "the input changed";
    for (uint64_t i = 0; i < kN; ++i) {
      double total = 0;
      for (uint64_t r = 0; r < me.size; ++r) total += value(r, rank * kN + i);
      ASSERT_NEAR(out[i], total, 1e-6);
      ASSERT_NEAR(again[rank * kN + i], total / static_cast<double>(me.size), 1e-6);
    }
    for (uint64_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], 10 * (i / 3) + i % 3);
    for (uint64_t i = 0; i < halves.size(); ++i) ASSERT_EQ(halves[i].x, c10::BFloat16(value(i / kN, i % kN)).x);
    EXPECT_EQ(me.all->counters().all_gather.calls, 3u);
    me.finish();
  });
}

TEST_P(StagedRanks, CallsKeepTheirOrderOverStreamsGroupsAndBuffers) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    std::vector<int32_t> everybody(me.size);
    std::iota(everybody.begin(), everybody.end(), 0);
    auto second = me.all->subset(everybody);
    auto side = me.device->create_stream(ESP_STREAM_DEVICE, 0, "side");
    auto x = me.array<float>(10), larger = me.array<float>(5000);
    std::fill(x.begin(), x.end(), 1.0f);
    std::fill(larger.begin(), larger.end(), 2.0f);
    Gate gate;
    if (facts.rank == 0) me.device->enqueue(*side, [&] { gate.pass(); });  // the first call is held up on one rank
    me.all->all_reduce(x.data(), x.data(), 10, ESP_F32, ESP_SUM, *side);
    second->all_reduce(larger.data(), larger.data(), 5000, ESP_F32, ESP_SUM, me.compute());
    me.all->all_reduce(x.data(), x.data(), 10, ESP_F32, ESP_SUM, me.compute());
    gate.open();
    me.device->sync(me.compute());
    EXPECT_EQ(x[9], static_cast<float>(me.size * me.size));
    EXPECT_EQ(larger[4999], 2.0f * static_cast<float>(me.size));
    me.finish();
  });
}

TEST_P(StagedRanks, AStreamOfTheCpuReducesPinnedMemoryAfterAForgottenOrder) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    auto queue = me.device->create_stream(ESP_STREAM_CPU, 0, "cpu");
    auto x = me.array<float>(10, ESP_PINNED);
    std::fill(x.begin(), x.end(), 1.0f);
    me.all->all_reduce(x.data(), x.data(), 10, ESP_F32, ESP_SUM, *queue);
    me.device->sync(*queue);
    me.all->forget_order();
    me.all->all_reduce(x.data(), x.data(), 10, ESP_F32, ESP_AVG, *queue);
    me.device->sync(*queue);
    EXPECT_EQ(x[0], static_cast<float>(me.size));
    me.finish();
  });
}

TEST(StagedThreeRanks, SubsetsReduceAmongThemselves) {
  run_ranks(3, [](const RankFacts& facts) {
    Peer me(facts);
    const std::vector<int32_t> outer{0, 2};
    auto pair = me.all->subset(outer);
    ASSERT_EQ(pair == nullptr, facts.rank == 1);
    auto x = me.array<float>(1);
    x[0] = static_cast<float>(facts.rank + 1);
    if (pair != nullptr) pair->all_reduce(x.data(), x.data(), 1, ESP_F32, ESP_SUM, me.compute());
    me.device->sync(me.compute());
    EXPECT_EQ(x[0], facts.rank == 1 ? 2.0f : 4.0f);
    me.finish();
  });
}

TEST(StagedTwoRanks, ALostPeerFailsTheDeviceOnce) {
  int met[2];
  ASSERT_EQ(pipe(met), 0);
  run_ranks(2, [&](const RankFacts& facts) {
    Peer me(facts);
    char byte = 0;
    if (facts.rank == 1) {
      ASSERT_EQ(read(met[0], &byte, 1), 1);  // rank 0 has met it
      _exit(0);
    }
    ASSERT_EQ(write(met[1], &byte, 1), 1);
    auto x = me.array<float>(8);
    const Caught lost = caught([&] {
      for (int i = 0; i < 3; ++i) me.all->all_reduce(x.data(), x.data(), 8, ESP_F32, ESP_SUM, me.compute());
      me.device->sync(me.compute());
    });
    EXPECT_EQ(lost.code, ExitCode::kPeerLost);
    EXPECT_NE(lost.text.find("rank 0: all_reduce #0 of 8 F32 elements"), std::string::npos) << lost.text;
  });
}

TEST(StagedOneRank, InPlaceCallsDoNothingAndStagingIsNotTaken) {
  run_ranks(1, [](const RankFacts& facts) {
    Peer me(facts);
    auto x = me.array<float>(8), y = me.array<float>(8);
    x[3] = 5;
    me.all->all_reduce(x.data(), x.data(), 8, ESP_F32, ESP_SUM, me.compute());
    me.all->all_gather(x.data(), y.data(), 8, ESP_F32, me.compute());
    me.device->sync(me.compute());
    EXPECT_EQ(y[3], 5.0f);
    EXPECT_EQ(me.device->memory().usage().pinned_peak, 0u);
  });
}

}  // namespace
}  // namespace esp::runtime::test
