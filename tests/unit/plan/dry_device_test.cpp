// What dry runs stand on: memory that is address space only, and a world of one rank that is there.
#include <gtest/gtest.h>

#include <cstring>

#include "runtime/plan/absent_ranks.hpp"
#include "runtime/plan/counting_device.hpp"

namespace esp::runtime {
namespace {

TEST(CountingDevice, CountsMoreThanAnyMachineHas) {
  CountingDevice device(ESP_CPU);
  constexpr uint64_t kTerabyte = uint64_t{1} << 40;
  {
    Arena arena(device.memory(), "test");
    arena.alloc(ESP_DEVICE, 8 * kTerabyte, ESP_TAG_PARAM);
    arena.free(arena.alloc(ESP_PINNED, kTerabyte, ESP_TAG_OPTIMIZER));
    arena.alloc(ESP_PINNED, 100, ESP_TAG_OPTIMIZER);
    const MemoryUsage usage = device.memory().usage();
    EXPECT_EQ(usage.device_peak, 8 * kTerabyte);
    EXPECT_EQ(usage.pinned_peak, kTerabyte);
    EXPECT_EQ(usage.current[ESP_TAG_OPTIMIZER], 256u);
  }
  EXPECT_EQ(device.memory().usage().device_current, 0u);
}

TEST(CountingDevice, GivesMemoryThatMayBeTouchedUntilThatIsForbidden) {
  CountingDevice device(ESP_CPU);
  Arena arena(device.memory(), "test");
  std::memset(arena.alloc(ESP_PINNED, 1000, ESP_TAG_OTHER), 1, 1000);
  device.memory().forbid_touching();
  void* memory = arena.alloc(ESP_PINNED, 1000, ESP_TAG_OTHER);
  EXPECT_DEATH(std::memset(memory, 1, 1), "");
}

TEST(CountingDevice, DropsWhatIsEnqueued) {
  CountingDevice device(ESP_CPU);
  const auto stream = device.create_stream(ESP_STREAM_CPU, 0, "cpu");
  EXPECT_NE(stream->index(), device.compute().index());
  EXPECT_NE(stream->handle(), device.compute().handle());
  device.enqueue(*stream, [] { FAIL() << "work of a dry run was done"; });
  device.sync(*stream);
}

TEST(AbsentRanks, AnswerWithOwnPlaceInEveryGroup) {
  const World world = without_peers(5, 8);
  EXPECT_EQ(world.data->rank(), 5);
  EXPECT_EQ(world.data->size(), 8);
  const auto odd = world.data->subset(std::vector<int32_t>{1, 3, 5, 7});
  ASSERT_NE(odd, nullptr);
  EXPECT_EQ(odd->rank(), 2);
  EXPECT_EQ(odd->size(), 4);
  const auto last = odd->subset(std::vector<int32_t>{2, 3});
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(std::vector<int32_t>(last->members().begin(), last->members().end()), (std::vector<int32_t>{5, 7}));
  EXPECT_EQ(world.data->subset(std::vector<int32_t>{0, 1}), nullptr);
}

}  // namespace
}  // namespace esp::runtime
