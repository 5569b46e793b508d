#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <utility>

#include "race_suppressions.hpp"
#include "ranks.hpp"
#include "rig.hpp"
#include "runtime/comm/rendezvous.hpp"
#include "runtime/device/dtype.hpp"
#include "runtime/update/update_service.hpp"

namespace esp::runtime::test {
namespace {

constexpr uint64_t kN = 1003;

// What a rank has: a device, its peers, memory.
struct Peer {
  explicit Peer(const RankFacts& facts, double timeout_s = 30) : world(connect(facts, timeout_s, *device)) {}
  template <class T>
  std::span<T> array(uint64_t n) {
    return {static_cast<T*>(arena.alloc(ESP_DEVICE, n * sizeof(T), ESP_TAG_OTHER)), n};
  }
  Communicator& all() { return *world.data; }
  Stream& compute() { return device->compute(); }
  void sync() { device->sync(compute()); }

  std::unique_ptr<Device> device = make_cpu_device(1);
  World world;
  Arena arena{device->memory(), "test"};
};

float value(int rank, uint64_t i) {
  return std::sin(static_cast<float>(i * 7 + static_cast<uint64_t>(rank) * 131)) * static_cast<float>(rank + 1);
}

double total(int world, uint64_t i) {
  double sum = 0;
  for (int r = 0; r < world; ++r) sum += value(r, i);
  return sum;
}

class Ranks : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(By, Ranks, ::testing::Values(1, 2, 3));

TEST_P(Ranks, AllReduceSumsAndAverages) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    auto in = me.array<float>(kN), sum = me.array<float>(kN), mean = me.array<float>(kN);
    for (uint64_t i = 0; i < kN; ++i) in[i] = mean[i] = value(facts.rank, i);
    me.all().all_reduce(in.data(), sum.data(), kN, ESP_F32, ESP_SUM, me.compute());
    me.all().all_reduce(mean.data(), mean.data(), kN, ESP_F32, ESP_AVG, me.compute());
    me.sync();
    for (uint64_t i = 0; i < kN; ++i) {
      ASSERT_EQ(in[i], value(facts.rank, i));
      ASSERT_NEAR(sum[i], total(facts.world, i), 1e-6);
      ASSERT_NEAR(mean[i], total(facts.world, i) / facts.world, 1e-6);
      if (facts.world == 2) {
        ASSERT_EQ(sum[i], value(0, i) + value(1, i));
        ASSERT_EQ(mean[i], (value(0, i) + value(1, i)) / 2);
      }
    }
    EXPECT_EQ(me.all().counters().all_reduce.calls, 2u);
    EXPECT_EQ(me.all().counters().all_reduce.bytes, 2 * kN * 4);
    me.world.control->barrier();
  });
}

TEST_P(Ranks, AllReduceTakesMaximumAndMinimumInDouble) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    auto high = me.array<double>(kN), low = me.array<double>(kN);
    for (uint64_t i = 0; i < kN; ++i) high[i] = low[i] = value(facts.rank, i);
    me.all().all_reduce(high.data(), high.data(), kN, ESP_F64, ESP_MAX, me.compute());
    me.all().all_reduce(low.data(), low.data(), kN, ESP_F64, ESP_MIN, me.compute());
    me.sync();
    for (uint64_t i = 0; i < kN; ++i) {
      double most = value(0, i), least = most;
      for (int r = 1; r < facts.world; ++r) {
        most = std::max<double>(most, value(r, i));
        least = std::min<double>(least, value(r, i));
      }
      ASSERT_EQ(high[i], most);
      ASSERT_EQ(low[i], least);
    }
    me.world.control->barrier();
  });
}

template <class Half>
void expect_half_mean(const RankFacts& facts, esp_dtype dtype) {
  Peer me(facts);
  auto x = me.array<Half>(kN);
  for (uint64_t i = 0; i < kN; ++i) x[i] = value(facts.rank, i);
  auto shard = me.array<Half>(5);
  auto parts = me.array<Half>(5 * static_cast<uint64_t>(facts.world));
  for (uint64_t i = 0; i < parts.size(); ++i) parts[i] = value(facts.rank, i);
  me.all().all_reduce(x.data(), x.data(), kN, dtype, ESP_AVG, me.compute());
  me.all().reduce_scatter(parts.data(), shard.data(), 5, dtype, ESP_AVG, me.compute());
  me.sync();
  const auto mean = [&](uint64_t i) {
    float sum = 0;
    for (int r = 0; r < facts.world; ++r) sum += static_cast<float>(Half(value(r, i)));
    return Half(sum / static_cast<float>(facts.world));
  };
  for (uint64_t i = 0; i < kN; ++i) {
    if (facts.world < 3) {
      ASSERT_EQ(x[i].x, mean(i).x);  // rounded once
    } else {
      ASSERT_NEAR(static_cast<float>(x[i]), static_cast<float>(mean(i)), 0.01f);  // the ring's order of addition
    }
  }
  for (uint64_t i = 0; i < 5; ++i) {
    ASSERT_NEAR(static_cast<float>(shard[i]), static_cast<float>(mean(static_cast<uint64_t>(facts.rank) * 5 + i)),
                0.01f);
  }
  me.world.control->barrier();
}

TEST_P(Ranks, HalfTypesAreReducedInFloatAndRoundedOnce) {
  run_ranks(GetParam(), [](const RankFacts& facts) { expect_half_mean<c10::Half>(facts, ESP_F16); });
  run_ranks(GetParam(), [](const RankFacts& facts) { expect_half_mean<c10::BFloat16>(facts, ESP_BF16); });
}

TEST_P(Ranks, ReduceScatterWorksApartAndInPlace) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    const auto size = static_cast<uint64_t>(facts.world), rank = static_cast<uint64_t>(facts.rank);
    auto in = me.array<float>(kN * size), out = me.array<float>(kN), again = me.array<float>(kN * size);
    for (uint64_t i = 0; i < in.size(); ++i) in[i] = again[i] = value(facts.rank, i);
    me.all().reduce_scatter(in.data(), out.data(), kN, ESP_F32, ESP_SUM, me.compute());
    me.all().reduce_scatter(again.data(), again.data() + rank * kN, kN, ESP_F32, ESP_AVG, me.compute());
    me.sync();
    for (uint64_t i = 0; i < in.size(); ++i) ASSERT_EQ(in[i], value(facts.rank, i)) << "the input changed";
    for (uint64_t i = 0; i < kN; ++i) {
      ASSERT_NEAR(out[i], total(facts.world, rank * kN + i), 1e-6);
      ASSERT_NEAR(again[rank * kN + i], total(facts.world, rank * kN + i) / facts.world, 1e-6);
    }
    me.world.control->barrier();
  });
}

TEST_P(Ranks, AllGatherWorksApartAndInPlaceAndOnBytes) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    const auto size = static_cast<uint64_t>(facts.world), rank = static_cast<uint64_t>(facts.rank);
    auto in = me.array<c10::Half>(kN), out = me.array<c10::Half>(kN * size);
    auto bytes = me.array<uint8_t>(3 * size);
    for (uint64_t i = 0; i < kN; ++i) in[i] = value(facts.rank, i);
    for (uint64_t i = 0; i < 3; ++i) bytes[rank * 3 + i] = static_cast<uint8_t>(10 * rank + i);
    me.all().all_gather(in.data(), out.data(), kN, ESP_F16, me.compute());
    me.all().all_gather(bytes.data() + rank * 3, bytes.data(), 3, ESP_U8, me.compute());
    me.all().all_gather(in.data(), out.data(), 0, ESP_F16, me.compute());
    me.sync();
    for (uint64_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i].x, c10::Half(value(static_cast<int>(i / kN), i % kN)).x);
    }
    for (uint64_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], 10 * (i / 3) + i % 3);
    me.world.control->barrier();
  });
}

TEST_P(Ranks, CollectivesRunInTheOrderOfTheirCallsWhateverTheStream) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    auto side = me.device->create_stream(ESP_STREAM_DEVICE, 0, "side");
    auto a = me.array<float>(10), b = me.array<float>(2000);
    std::fill(a.begin(), a.end(), 1.0f);
    std::fill(b.begin(), b.end(), 2.0f);
    Gate gate;
    if (facts.rank == 0) me.device->enqueue(*side, [&] { gate.pass(); });  // the first call is held up on one rank
    me.all().all_reduce(a.data(), a.data(), 10, ESP_F32, ESP_SUM, *side);
    me.all().all_reduce(b.data(), b.data(), 2000, ESP_F32, ESP_SUM, me.compute());
    gate.open();
    me.sync();
    EXPECT_EQ(a[9], 1.0f * static_cast<float>(facts.world));
    EXPECT_EQ(b[1999], 2.0f * static_cast<float>(facts.world));
    me.world.control->barrier();
  });
}

TEST_P(Ranks, ControlValuesReachEveryRank) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    ControlGroup& control = *me.world.control;
    const std::string mine(static_cast<size_t>(facts.rank) * 3, static_cast<char>('a' + facts.rank));
    const auto all = control.all_gather(mine);
    ASSERT_EQ(all.size(), static_cast<size_t>(facts.world));
    for (int r = 0; r < facts.world; ++r) {
      EXPECT_EQ(all[static_cast<size_t>(r)], std::string(static_cast<size_t>(r) * 3, static_cast<char>('a' + r)));
    }
    const int root = facts.world - 1;
    EXPECT_EQ(control.broadcast(facts.rank == root ? "from the last" : "ignored", root), "from the last");
    std::vector<double> sums{1.0 + facts.rank, facts.rank == 0 ? std::nan("") : 1.0};
    control.all_reduce(sums, ControlOp::kMax);
    EXPECT_EQ(sums[0], facts.world);
    EXPECT_TRUE(std::isnan(sums[1]));
    std::vector<double> ones{1, 2};
    control.all_reduce(ones, ControlOp::kSum);
    EXPECT_EQ(ones, (std::vector<double>{1.0 * facts.world, 2.0 * facts.world}));
    control.barrier();
  });
}

TEST(ThreeRanks, SubsetsReduceAmongThemselves) {
  run_ranks(3, [](const RankFacts& facts) {
    Peer me(facts);
    const std::vector<int32_t> outer{0, 2}, middle{1};
    auto pair = me.all().subset(outer);
    auto single = me.all().subset(middle);
    EXPECT_EQ(pair == nullptr, facts.rank == 1);
    EXPECT_EQ(single == nullptr, facts.rank != 1);
    auto x = me.array<float>(1);
    x[0] = static_cast<float>(facts.rank + 1);
    Communicator& mine = facts.rank == 1 ? *single : *pair;
    mine.all_reduce(x.data(), x.data(), 1, ESP_F32, ESP_SUM, me.compute());
    me.sync();
    EXPECT_EQ(x[0], facts.rank == 1 ? 2.0f : 4.0f);
    if (pair != nullptr) {
      EXPECT_EQ(pair->rank(), facts.rank / 2);
      EXPECT_EQ(pair->members()[1], 2);
    }
    me.world.control->barrier();
  });
}

TEST_P(Ranks, TheNormOfShardedGradientsIsThatOfTheWhole) {
  run_ranks(GetParam(), [](const RankFacts& facts) {
    Peer me(facts);
    UpdateConfig config;
    config.weight_decay = {0};
    config.params = {{kN, 0, true}};
    UpdateService update(*me.device, config);
    auto grad = me.array<float>(kN);
    double want = 0;
    for (uint64_t i = 0; i < kN; ++i) {
      grad[i] = value(0, i);
      want += static_cast<double>(grad[i]) * grad[i];
    }
    const uint64_t lo = kN * static_cast<uint64_t>(facts.rank) / static_cast<uint64_t>(facts.world);
    const uint64_t hi = kN * static_cast<uint64_t>(facts.rank + 1) / static_cast<uint64_t>(facts.world);
    update.begin_step(0, std::vector<double>{0.1}, 1);
    update.norm_add(grad.data() + lo, hi - lo, ESP_F32, me.compute());
    update.norm_finish(&me.all(), me.compute());
    update.end_step();
    EXPECT_NEAR(update.result(0).grad_norm, std::sqrt(want), 1e-12 * std::sqrt(want));
    update.begin_step(1, std::vector<double>{0.1}, 1);
    if (facts.rank == facts.world - 1) grad[hi - 1] = std::numeric_limits<float>::infinity();
    update.norm_add(grad.data() + lo, hi - lo, ESP_F32, me.compute());
    update.norm_finish(&me.all(), me.compute());
    update.end_step();
    EXPECT_TRUE(update.result(1).found_inf) << "one rank's overflow is everybody's";
    me.world.control->barrier();
  });
}

TEST(TwoRanks, ALostPeerEndsTheCollectiveAndIsNamed) {
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
    me.all().all_reduce(x.data(), x.data(), 8, ESP_F32, ESP_SUM, me.compute());
    const Caught lost = caught([&] { me.sync(); });
    EXPECT_EQ(lost.code, ExitCode::kPeerLost);
    EXPECT_NE(lost.text.find("rank 0: all_reduce #0 of 8 F32 elements"), std::string::npos) << lost.text;
    EXPECT_EQ(lost.text.find('\n'), std::string::npos) << lost.text;
    EXPECT_EQ(caught([&] { me.world.control->barrier(); }).code, ExitCode::kPeerLost);
  });
}

TEST(TwoRanks, ABrokenPipeDoesNotKillARank) {
  run_ranks(2, [](const RankFacts& facts) {
    Peer me(facts);
    int broken[2];
    ASSERT_EQ(pipe(broken), 0);
    close(broken[0]);
    EXPECT_EQ(write(broken[1], "x", 1), -1);
    EXPECT_EQ(errno, EPIPE);
    me.world.control->barrier();
  });
}

TEST(TwoRanks, ASilentPeerIsATimeout) {
  int waiting[2];
  ASSERT_EQ(pipe(waiting), 0);
  run_ranks(2, [&](const RankFacts& facts) {
    Peer me(facts, 1.0);
    char byte = 0;
    if (facts.rank == 1) {
      close(waiting[1]);
      ASSERT_EQ(read(waiting[0], &byte, 1), 1);  // says nothing until rank 0 has given up
      _exit(0);
    }
    auto x = me.array<float>(8);
    me.all().all_reduce(x.data(), x.data(), 8, ESP_F32, ESP_SUM, me.compute());
    const Caught lost = caught([&] { me.sync(); });
    EXPECT_EQ(lost.code, ExitCode::kPeerLost);
    EXPECT_NE(lost.text.find("timed out"), std::string::npos) << lost.text;
    ASSERT_EQ(write(waiting[1], &byte, 1), 1);
  });
}

TEST(OneOfTwoRanks, AMissingPeerIsATimeoutOfTheMeeting) {
  run_ranks(1, [](const RankFacts& real) {
    RankFacts facts = real;
    facts.world = facts.local_world = 2;
    const Caught lost = caught([&] { Peer me(facts, 1.0); });
    EXPECT_EQ(lost.code, ExitCode::kPeerLost) << lost.text;
  });
}

TEST(OneOfTwoRanks, AStoreThatIsNotThereIsNamed) {
  run_ranks(1, [](const RankFacts& real) {
    RankFacts facts = real;
    close(facts.listen_fd);
    facts.rank = 1;
    facts.world = facts.local_world = 2;
    const Caught lost = caught([&] { Peer me(facts, 1.0); });
    EXPECT_EQ(lost.code, ExitCode::kPeerLost) << lost.text;
    EXPECT_NE(lost.text.find(std::to_string(facts.master_port)), std::string::npos) << lost.text;
  });
}

TEST(OneOfTwoRanks, AProgramThatIsNoStoreIsATimeout) {
  run_ranks(1, [](const RankFacts& real) {
    RankFacts facts = real;  // listens, and never answers
    facts.listen_fd = -1;
    facts.rank = 1;
    facts.world = facts.local_world = 2;
    const Caught lost = caught([&] { Peer me(facts, 1.0); });
    EXPECT_EQ(lost.code, ExitCode::kPeerLost) << lost.text;
  });
}

TEST(OneOfTwoRanks, APortThatIsTakenIsNamed) {
  run_ranks(1, [](const RankFacts& real) {
    RankFacts facts = real;  // its socket still listens, but is not handed over
    facts.listen_fd = -1;
    facts.world = facts.local_world = 2;
    const Caught taken = caught([&] { Peer me(facts, 1.0); });
    EXPECT_EQ(taken.code, ExitCode::kResource) << taken.text;
    EXPECT_NE(taken.text.find(std::to_string(facts.master_port)), std::string::npos) << taken.text;
  });
}

}  // namespace
}  // namespace esp::runtime::test
