#include "rig.hpp"

namespace esp::runtime::test {
namespace {

using ArenaOf = Rig;

TEST_F(ArenaOf, GivesZeroedAlignedBlocks) {
  for (uint64_t bytes : {0ull, 1ull, 257ull, 5000001ull}) {
    auto* memory = static_cast<unsigned char*>(arena_.alloc(ESP_DEVICE, bytes, ESP_TAG_GRAD));
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
    for (uint64_t i = 0; i < bytes; ++i) ASSERT_EQ(memory[i], 0);
  }
}

TEST_F(ArenaOf, CountsByTagAndPlaceAndKeepsPeaks) {
  const MemoryUsage before = device_->memory().usage();
  void* a = arena_.alloc(ESP_DEVICE, 1000, ESP_TAG_PARAM);
  void* b = arena_.alloc(ESP_PINNED, 256, ESP_TAG_PARAM);
  arena_.free(a);
  void* c = arena_.alloc(ESP_DEVICE, 512, ESP_TAG_BUCKET);
  const MemoryUsage after = device_->memory().usage();
  EXPECT_EQ(after.current[ESP_TAG_PARAM] - before.current[ESP_TAG_PARAM], 256u);
  EXPECT_EQ(after.peak[ESP_TAG_PARAM] - before.peak[ESP_TAG_PARAM], 1024u + 256u);
  EXPECT_EQ(after.current[ESP_TAG_BUCKET] - before.current[ESP_TAG_BUCKET], 512u);
  EXPECT_EQ(after.device_current - before.device_current, 512u);
  EXPECT_EQ(after.device_peak - before.device_current, 1024u);
  EXPECT_EQ(after.pinned_current - before.pinned_current, 256u);
  arena_.free(b);
  arena_.free(c);
  device_->memory().reset_peaks();
  EXPECT_EQ(device_->memory().usage().peak[ESP_TAG_PARAM], before.current[ESP_TAG_PARAM]);
}

TEST_F(ArenaOf, FreesEverythingAtTheEnd) {
  const uint64_t before = device_->memory().usage().device_current;
  {
    Arena other(device_->memory(), "other");
    other.alloc(ESP_DEVICE, 100000, ESP_TAG_OTHER);
    EXPECT_GT(device_->memory().usage().device_current, before);
  }
  EXPECT_EQ(device_->memory().usage().device_current, before);
}

TEST_F(ArenaOf, RefusesWhatExceedsItsBudgetWithTheNumbers) {
  Arena small(device_->memory(), "libx.so:x", 1024, 0);
  small.alloc(ESP_DEVICE, 512, ESP_TAG_OTHER);
  const Caught refused = caught([&] { small.alloc(ESP_DEVICE, 513, ESP_TAG_OTHER); });
  EXPECT_EQ(refused.code, ExitCode::kResource);
  EXPECT_NE(refused.text.find("513"), std::string::npos) << refused.text;
  EXPECT_NE(refused.text.find("1024"), std::string::npos) << refused.text;
  small.alloc(ESP_DEVICE, 512, ESP_TAG_OTHER);     // fits exactly
  small.alloc(ESP_PINNED, 100000, ESP_TAG_OTHER);  // another budget
  EXPECT_EQ(small.used(ESP_DEVICE), 1024u);
}

TEST_F(ArenaOf, RefusesSizesThatNoMachineHas) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizers' allocators end the process instead";
#endif
  EXPECT_EQ(caught([&] { arena_.alloc(ESP_DEVICE, UINT64_MAX, ESP_TAG_OTHER); }).code, ExitCode::kResource);
  EXPECT_EQ(caught([&] { arena_.alloc(ESP_DEVICE, UINT64_MAX / 2, ESP_TAG_OTHER); }).code, ExitCode::kResource);
}

TEST_F(ArenaOf, KnowsTheBlockOfAPointer) {
  auto* memory = static_cast<char*>(arena_.alloc(ESP_PINNED, 512, ESP_TAG_OTHER));
  EXPECT_EQ(device_->memory().find(memory, 512).place, ESP_PINNED);
  EXPECT_EQ(device_->memory().find(memory + 500, 12).owner, &arena_);
  EXPECT_EQ(device_->memory().find(memory + 500, 13).bytes, 0u);
  EXPECT_EQ(device_->memory().find(memory + 512, 0).bytes, 0u);
  EXPECT_EQ(device_->memory().find(memory - 1, 1).bytes, 0u);
  EXPECT_EQ(device_->memory().find(memory, UINT64_MAX).bytes, 0u);
  int on_stack = 0;
  EXPECT_EQ(device_->memory().find(&on_stack, 4).bytes, 0u);
}

TEST_F(ArenaOf, RefusesToFreeWhatIsNotItsOwn) {
  Arena other(device_->memory(), "other");
  void* memory = other.alloc(ESP_DEVICE, 16, ESP_TAG_OTHER);
  EXPECT_EQ(caught([&] { arena_.free(memory); }).code, ExitCode::kPlugin);
  EXPECT_EQ(caught([&] { arena_.free(static_cast<char*>(memory) + 16); }).code, ExitCode::kPlugin);
  arena_.free(nullptr);
  other.free(memory);
}

}  // namespace
}  // namespace esp::runtime::test
