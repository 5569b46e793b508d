#include "runtime/device/cpu/loops.hpp"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/device/cpu/parallel.hpp"

namespace esp::runtime {
namespace {

// Numbers, ties, infinities, subnormals and NaNs of all kinds: every upper half with some lower halves.
std::vector<float> many_floats() {
  std::vector<float> values;
  for (uint32_t high = 0; high < 65536; ++high) {
    for (uint32_t low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      values.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  values.resize(values.size() - 3);  // no whole vectors
  return values;
}

TEST(Loops, RoundToHalvesAsC10Does) {
  const std::vector<float> from = many_floats();
  std::vector<uint16_t> half(from.size()), bfloat(from.size());
  loops::float_to_half(from.size(), from.data(), half.data());
  loops::float_to_bfloat(from.size(), from.data(), bfloat.data());
  for (size_t i = 0; i < from.size(); ++i) {
    ASSERT_EQ(half[i], c10::Half(from[i]).x) << std::hex << std::bit_cast<uint32_t>(from[i]);
    ASSERT_EQ(bfloat[i], c10::BFloat16(from[i]).x) << std::hex << std::bit_cast<uint32_t>(from[i]);
  }
}

TEST(Loops, WidenEveryHalfAsC10Does) {
  std::vector<uint16_t> from(65536);
  for (uint32_t i = 0; i < 65536; ++i) from[i] = static_cast<uint16_t>(i);
  std::vector<float> to(from.size());
  loops::half_to_float(from.size(), from.data(), to.data());
  for (size_t i = 0; i < from.size(); ++i) {
    const float want = c10::Half(from[i], c10::Half::from_bits());
    ASSERT_EQ(std::bit_cast<uint32_t>(to[i]), std::bit_cast<uint32_t>(want)) << std::hex << i;
  }
}

TEST(ParallelFor, CoversEveryElementOnceFromSeveralThreadsAtOnce) {
  constexpr uint64_t kN = 100003;
  const auto loop = [] {
    std::vector<std::atomic<int>> seen(kN);
    for (int round = 1; round <= 20; ++round) {
      parallel_for(3, kN, 1000, [&](uint64_t lo, uint64_t hi) {
        for (uint64_t i = lo; i < hi; ++i) ++seen[i];
      });
      for (const auto& count : seen) ASSERT_EQ(count, round);
    }
  };
  std::thread other(loop);
  loop();
  other.join();
}

TEST(ParallelFor, RunsOnSeveralThreadsAtOnce) {
  std::atomic<int> arrived{0};
  parallel_for(2, 2, 1, [&](uint64_t, uint64_t) {  // ends only when both parts run at the same time
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST(ParallelFor, PassesOnWhatABodyThrows) {
  const auto failing = [](uint64_t lo, uint64_t) {
    if (lo == 500) throw std::runtime_error("part 500");
  };
  EXPECT_THROW(parallel_for(3, 1000, 100, failing), std::runtime_error);
}

}  // namespace
}  // namespace esp::runtime
