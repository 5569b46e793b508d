// Collectives of ranks on ESPALIER_TEST_GPUS GPUs: NCCL where each rank has one of its own, through the host where they
// share. Compared with sums that the host computes.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include "gpu_ranks.hpp"
#include "rig.hpp"

namespace esp::runtime::test {
namespace {

constexpr uint64_t kN = 100003;
constexpr int kGpus = ESPALIER_TEST_GPUS;

float value(uint64_t rank, uint64_t i) {
  return std::sin(static_cast<float>((i % 5000) * 7 + rank * 131)) * static_cast<float>(rank + 1);
}

// Memory of the GPU and its image on the host.
template <class T>
struct Array {
  Array(Arena& arena, uint64_t n)
      : gpu(static_cast<T*>(arena.alloc(ESP_DEVICE, n * sizeof(T), ESP_TAG_OTHER))),
        host(static_cast<T*>(arena.alloc(ESP_PINNED, n * sizeof(T), ESP_TAG_OTHER)), n) {}
  T* gpu;
  std::span<T> host;
};

struct Peer {
  explicit Peer(const RankFacts& facts, double timeout_s = 60)
      : size(static_cast<uint64_t>(facts.world)),
        rank(static_cast<uint64_t>(facts.rank)),
        device(cuda().make_device(facts.rank % kGpus, 1)),
        world(connect(facts, timeout_s, *device,
                      {cuda().identity(facts.rank % kGpus),
                       [=, this](ControlGroup& control) {
                         return cuda().make_nccl(*device, control, timeout_s, /*most_blocks=*/0);
                       }})),
        arena(device->memory(), "test") {
    EXPECT_EQ(world.how.starts_with("NCCL"), facts.world > 1 && facts.world <= kGpus) << world.how;
  }
  ~Peer() { device->drain(); }
  template <class T>
  Array<T> array(uint64_t n) {
    return Array<T>(arena, n);
  }
  template <class T>
  void push(const Array<T>& a) {
    device->kernels().copy(compute(), a.gpu, a.host.data(), a.host.size_bytes());
  }
  template <class T>
  void pull(const Array<T>& a) {
    device->kernels().copy(compute(), a.host.data(), a.gpu, a.host.size_bytes());
    device->sync(compute());
  }
  Communicator& all() { return *world.data; }
  Stream& compute() { return device->compute(); }

  uint64_t size, rank;
  std::unique_ptr<Device> device;
  World world;
  Arena arena;
};

class GpuRanks : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { ESPALIER_NEED(missing_gpus(kGpus)); }
};
std::vector<int> worlds() { return kGpus == 1 ? std::vector<int>{1, 2, 3} : std::vector<int>{kGpus, kGpus + 1}; }
INSTANTIATE_TEST_SUITE_P(By, GpuRanks, ::testing::ValuesIn(worlds()));

template <class T>
void check_reductions(Peer& me, esp_dtype dtype, double tolerance) {
  auto sum = me.array<T>(kN), most = me.array<T>(kN), parts = me.array<T>(kN * me.size), mean = me.array<T>(kN);
  for (uint64_t i = 0; i < kN; ++i) sum.host[i] = most.host[i] = static_cast<T>(value(me.rank, i));
  for (uint64_t i = 0; i < kN * me.size; ++i) parts.host[i] = static_cast<T>(value(me.rank, i));
  for (const auto* array : {&sum, &most, &parts}) me.push(*array);
  me.all().all_reduce(sum.gpu, sum.gpu, kN, dtype, ESP_SUM, me.compute());
  me.all().all_reduce(most.gpu, most.gpu, kN, dtype, ESP_MAX, me.compute());
  me.all().reduce_scatter(parts.gpu, mean.gpu, kN, dtype, ESP_AVG, me.compute());
  me.all().reduce_scatter(parts.gpu, parts.gpu + me.rank * kN, kN, dtype, ESP_SUM, me.compute());
  for (const auto* array : {&sum, &most, &mean, &parts}) me.pull(*array);
  const auto total = [&](uint64_t i) {
    double all = 0;
    for (uint64_t r = 0; r < me.size; ++r) all += static_cast<double>(static_cast<T>(value(r, i)));
    return all;
  };
  for (uint64_t i = 0; i < kN; ++i) {
    const double here = total(i), there = total(me.rank * kN + i);
    double largest = static_cast<double>(static_cast<T>(value(0, i)));
    for (uint64_t r = 1; r < me.size; ++r)
      largest = std::max(largest, static_cast<double>(static_cast<T>(value(r, i))));
    ASSERT_NEAR(static_cast<double>(sum.host[i]), here, tolerance * 8) << i;
    ASSERT_EQ(static_cast<double>(most.host[i]), largest) << i;
    ASSERT_NEAR(static_cast<double>(mean.host[i]), there / static_cast<double>(me.size), tolerance * 8) << i;
    ASSERT_NEAR(static_cast<double>(parts.host[me.rank * kN + i]), there, tolerance * 8) << i;
    if (me.size == 2 && dtype == ESP_F32) {
      ASSERT_EQ(static_cast<float>(sum.host[i]), value(0, i) + value(1, i)) << i;
    }
  }
}

TEST_P(GpuRanks, ReductionsEqualTheHostsInEveryDtype) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    check_reductions<float>(me, ESP_F32, 1e-7);
    check_reductions<double>(me, ESP_F64, 1e-15);
    check_reductions<c10::Half>(me, ESP_F16, 1e-3);
    check_reductions<c10::BFloat16>(me, ESP_BF16, 8e-3);
    me.world.control->barrier();
  });
}

TEST_P(GpuRanks, AllGatherWorksApartAndInPlaceAndOnNothing) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    auto own = me.array<float>(kN), all = me.array<float>(kN * me.size);
    auto bytes = me.array<uint8_t>(3 * me.size);
    for (uint64_t i = 0; i < kN; ++i) own.host[i] = value(me.rank, i);
    for (uint64_t i = 0; i < 3; ++i) bytes.host[me.rank * 3 + i] = static_cast<uint8_t>(10 * me.rank + i);
    me.push(own);
    me.push(bytes);
    me.all().all_gather(own.gpu, all.gpu, kN, ESP_F32, me.compute());
    me.all().all_gather(bytes.gpu + me.rank * 3, bytes.gpu, 3, ESP_U8, me.compute());
    me.all().all_gather(own.gpu, all.gpu, 0, ESP_F32, me.compute());
    me.pull(all);
    me.pull(bytes);
    for (uint64_t i = 0; i < all.host.size(); ++i) ASSERT_EQ(all.host[i], value(i / kN, i % kN)) << i;
    for (uint64_t i = 0; i < bytes.host.size(); ++i) ASSERT_EQ(bytes.host[i], 10 * (i / 3) + i % 3);
    me.world.control->barrier();
  });
}

TEST_P(GpuRanks, ACapturedStepRepeatsItsCollectivesOnBothStreams) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    Device& device = *me.device;
    auto side = device.create_stream(ESP_STREAM_DEVICE, 0, "side");
    auto fork = device.create_event(), join = device.create_event();
    auto x = me.array<float>(kN), all = me.array<float>(kN * me.size), apart = me.array<float>(kN);
    std::fill(x.host.begin(), x.host.end(), 1.0f);
    me.push(x);
    const auto step = [&] {
      me.all().forget_order();
      device.record(*fork, me.compute());
      device.wait(*side, *fork);
      me.all().all_reduce(x.gpu, x.gpu, kN, ESP_F32, ESP_SUM, *side);  // x = size^k
      me.all().all_gather(x.gpu, all.gpu, kN, ESP_F32, me.compute());  // ordered by the communicator alone
      me.all().reduce_scatter(all.gpu, apart.gpu, kN, ESP_F32, ESP_AVG, *side);
      device.record(*join, *side);
      device.wait(me.compute(), *join);
      me.all().forget_order();
    };
    step();  // eager: staging and connections are made
    device.sync(me.compute());
    device.begin_capture();
    step();
    const auto graph = device.end_capture();
    for (int i = 0; i < 3; ++i) device.launch(*graph);
    step();
    me.pull(apart);
    EXPECT_EQ(apart.host[0], std::pow(static_cast<float>(me.size), 5.0f));
    EXPECT_EQ(apart.host[kN - 1], std::pow(static_cast<float>(me.size), 5.0f));
    me.world.control->barrier();
  });
}

TEST_P(GpuRanks, SubsetsReduceAmongThemselves) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    const std::vector<int32_t> last{facts.world - 1}, everybody = [&] {
      std::vector<int32_t> ranks;
      for (int32_t r = 0; r < facts.world; ++r) ranks.push_back(r);
      return ranks;
    }();
    auto second = me.all().subset(everybody);
    auto single = me.all().subset(last);
    EXPECT_EQ(single != nullptr, facts.rank == facts.world - 1);
    auto x = me.array<float>(1), y = me.array<float>(1);
    x.host[0] = 1;
    me.push(x);
    second->all_reduce(x.gpu, y.gpu, 1, ESP_F32, ESP_SUM, me.compute());
    if (single != nullptr) single->all_reduce(y.gpu, x.gpu, 1, ESP_F32, ESP_SUM, me.compute());
    me.pull(x);
    EXPECT_EQ(x.host[0], single != nullptr ? static_cast<float>(me.size) : 1.0f);
    me.world.control->barrier();
  });
}

TEST_P(GpuRanks, ALostPeerEndsEveryOtherRankWithinTheTimeout) {
  if (GetParam() == 1) GTEST_SKIP() << "one rank has no peers";
  run_ranks(GetParam(), [](const RankFacts& facts) {
    constexpr double kTimeout = 10;
    Peer me(facts, kTimeout);
    auto x = me.array<float>(8);
    me.all().all_reduce(x.gpu, x.gpu, 8, ESP_F32, ESP_SUM, me.compute());
    me.device->sync(me.compute());
    me.world.control->barrier();
    if (facts.rank == facts.world - 1) _exit(0);
    const auto start = std::chrono::steady_clock::now();
    const Caught lost = caught([&] {
      me.all().all_reduce(x.gpu, x.gpu, 8, ESP_F32, ESP_SUM, me.compute());
      me.device->sync(me.compute());
    });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(lost.code, ExitCode::kPeerLost) << lost.text;
    EXPECT_NE(lost.text.find("all_reduce #1 of 8 F32 elements"), std::string::npos) << lost.text;
    EXPECT_LT(took.count(), kTimeout + 15);
  });
}

}  // namespace
}  // namespace esp::runtime::test
