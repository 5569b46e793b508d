#include "gpu_rig.hpp"

namespace esp::runtime::test {
namespace {

using MemoryOfAGpu = GpuRig;

TEST_F(MemoryOfAGpu, BlocksAreZeroedAndAlignedEvenWhenTheyWereUsed) {
  for (uint32_t place : {ESP_DEVICE, ESP_PINNED}) {
    for (int turn = 0; turn < 2; ++turn) {
      for (uint64_t bytes : {0ull, 1ull, 257ull, 5000001ull}) {
        auto* memory = static_cast<unsigned char*>(arena_->alloc(place, bytes, ESP_TAG_GRAD));
        ASSERT_NE(memory, nullptr);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
        for (unsigned char byte : read(memory, bytes)) ASSERT_EQ(byte, 0);
        set(memory, std::vector<unsigned char>(bytes, 9));
        arena_->free(memory);
      }
    }
  }
}

TEST_F(MemoryOfAGpu, IsCountedByTagAndPlaceWithPeaks) {
  const MemoryUsage before = gpu_->memory().usage();
  void* a = arena_->alloc(ESP_DEVICE, 1000, ESP_TAG_PARAM);
  void* b = arena_->alloc(ESP_PINNED, 256, ESP_TAG_PARAM);
  arena_->free(a);
  void* c = arena_->alloc(ESP_DEVICE, 512, ESP_TAG_BUCKET);
  const MemoryUsage after = gpu_->memory().usage();
  EXPECT_EQ(after.current[ESP_TAG_PARAM] - before.current[ESP_TAG_PARAM], 256u);
  EXPECT_EQ(after.peak[ESP_TAG_PARAM] - before.peak[ESP_TAG_PARAM], 1024u + 256u);
  EXPECT_EQ(after.device.current[ESP_TAG_BUCKET], 512u);
  EXPECT_EQ(after.pinned.current[ESP_TAG_PARAM], 256u);
  EXPECT_EQ(after.device_peak - before.device_current, 1024u);
  EXPECT_EQ(after.pinned_current - before.pinned_current, 256u);
  arena_->free(b);
  arena_->free(c);
  gpu_->memory().reset_peaks();
  EXPECT_EQ(gpu_->memory().usage().device_peak, before.device_current);
}

TEST_F(MemoryOfAGpu, TheDevicesPeakHoldsWhatArenasTook) {
  constexpr uint64_t kBytes = 256 << 20;
  const uint64_t before = gpu_->foreign_memory().device_peak;
  void* memory = arena_->alloc(ESP_DEVICE, kBytes, ESP_TAG_OTHER);
  const uint64_t with = gpu_->foreign_memory().device_peak;
  arena_->free(memory);
  EXPECT_GT(before, 0u);
  EXPECT_GE(with, before);
  EXPECT_GE(with, kBytes);
  EXPECT_GE(gpu_->foreign_memory().device_peak, with) << "a peak does not fall";
}

TEST_F(MemoryOfAGpu, WhatExceedsABudgetIsRefusedWithTheNumbers) {
  for (uint32_t place : {ESP_DEVICE, ESP_PINNED}) {
    Arena small(gpu_->memory(), "libx.so:x", 1024, 1024);
    small.alloc(place, 512, ESP_TAG_OTHER);
    const Caught refused = caught([&] { small.alloc(place, 513, ESP_TAG_OTHER); });
    EXPECT_EQ(refused.code, ExitCode::kResource);
    EXPECT_NE(refused.text.find("513 bytes"), std::string::npos) << refused.text;
    EXPECT_NE(refused.text.find("512 of the budget of 1024"), std::string::npos) << refused.text;
    small.alloc(place, 512, ESP_TAG_OTHER);  // fits exactly
    EXPECT_EQ(small.used(place), 1024u);
  }
}

TEST_F(MemoryOfAGpu, WhatTheMachineDoesNotHaveIsRefusedAndTheGpuStaysUsable) {
  for (uint32_t place : {ESP_DEVICE, ESP_PINNED}) {
    arena_->alloc(place, 256, ESP_TAG_OTHER);
    const Caught refused = caught([&] { arena_->alloc(place, uint64_t{1} << 50, ESP_TAG_OTHER); });
    EXPECT_EQ(refused.code, ExitCode::kResource);
    EXPECT_NE(refused.text.find(std::to_string(uint64_t{1} << 50)), std::string::npos) << refused.text;
    EXPECT_NE(refused.text.find("256 held already"), std::string::npos) << refused.text;
    float* still = make<float>(4, place);
    set(still, {1, 2, 3, 4});
    kernels().axpby(compute(), 4, 2, nullptr, still, ESP_F32, 0, nullptr, still, ESP_F32);
    EXPECT_EQ(read(still, 4), (std::vector<float>{2, 4, 6, 8}));
    arena_ = std::make_unique<Arena>(gpu_->memory(), "again");
  }
}

TEST_F(MemoryOfAGpu, PinnedMemoryIsReadAndWrittenByKernelsOfTheGpu) {
  float* x = make<float>(1025, ESP_PINNED);
  float* y = make<float>(1025, ESP_PINNED);
  for (int i = 0; i < 1025; ++i) x[i] = static_cast<float>(i);
  kernels().axpby(compute(), 1025, 0.5f, nullptr, x, ESP_F32, 0, nullptr, y, ESP_F32);
  sync();
  for (int i = 0; i < 1025; ++i) ASSERT_EQ(y[i], 0.5f * static_cast<float>(i));
}

TEST_F(MemoryOfAGpu, ABlockIsKnownByItsPointer) {
  char* memory = make<char>(512, ESP_PINNED);
  EXPECT_EQ(gpu_->memory().find(memory, 512).place, static_cast<uint32_t>(ESP_PINNED));
  EXPECT_EQ(gpu_->memory().find(memory + 500, 13).bytes, 0u);
  char* device = make<char>(512);
  EXPECT_EQ(gpu_->memory().find(device + 256, 256).place, static_cast<uint32_t>(ESP_DEVICE));
}

TEST_F(MemoryOfAGpu, AnArenaFreesEverythingAtItsEnd) {
  const MemoryUsage before = gpu_->memory().usage();
  {
    Arena other(gpu_->memory(), "other");
    other.alloc(ESP_DEVICE, 100000, ESP_TAG_OTHER);
    other.alloc(ESP_PINNED, 100000, ESP_TAG_OTHER);
    EXPECT_GT(gpu_->memory().usage().device_current, before.device_current);
  }
  EXPECT_EQ(gpu_->memory().usage().device_current, before.device_current);
  EXPECT_EQ(gpu_->memory().usage().pinned_current, before.pinned_current);
}

}  // namespace
}  // namespace esp::runtime::test
