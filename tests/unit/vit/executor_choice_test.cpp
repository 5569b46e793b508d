// Which executor is taken, and what is told where the fused one cannot be.
#include "executor_choice.hpp"

#include <gtest/gtest.h>

#include <espalier/failure.hpp>

namespace esp::vit::test {
namespace {

fused::ModelShape base() {
  fused::ModelShape shape;
  shape.hidden = 768;
  shape.layers = 12;
  shape.heads = 12;
  shape.inner = 3072;
  shape.side = 224;
  shape.patch = 16;
  shape.classes = 3;
  return shape;
}

esp_run on(int32_t device, uint32_t precision) {
  esp_run run{};
  run.struct_size = sizeof run;
  run.device_kind = device;
  run.precision = precision;
  return run;
}

std::string refusal_of(const esp_run& run, const fused::ModelShape& shape) {
  try {
    choose_executor("fused", run, shape);
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "";
}

TEST(ExecutorChoice, AutoTakesTheFusedOneWhereItCanCompute) {
  EXPECT_TRUE(choose_executor("auto", on(ESP_CUDA, ESP_PRECISION_BF16), base()).fused);
  EXPECT_TRUE(choose_executor("auto", on(ESP_CUDA, ESP_PRECISION_FP16), base()).fused);
  EXPECT_TRUE(choose_executor("auto", on(ESP_CUDA, ESP_PRECISION_DEFAULT), base()).fused);
  EXPECT_FALSE(choose_executor("reference", on(ESP_CUDA, ESP_PRECISION_BF16), base()).fused);
}

TEST(ExecutorChoice, AutoTellsWhyAGpuRunIsTheReferences) {
  fused::ModelShape narrow = base();
  narrow.heads = 6;
  const ExecutorChoice choice = choose_executor("auto", on(ESP_CUDA, ESP_PRECISION_BF16), narrow);
  EXPECT_FALSE(choice.fused);
  EXPECT_NE(choice.note.find("heads are not 64 wide"), std::string::npos) << choice.note;
  EXPECT_NE(choose_executor("auto", on(ESP_CUDA, ESP_PRECISION_FP32), base()).note.find("bf16"), std::string::npos);
  EXPECT_EQ(choose_executor("auto", on(ESP_CPU, ESP_PRECISION_BF16), base()).note, "");
}

TEST(ExecutorChoice, FusedIsRefusedWhereItCannotCompute) {
  EXPECT_NE(refusal_of(on(ESP_CPU, ESP_PRECISION_BF16), base()).find("CUDA device"), std::string::npos);
  EXPECT_NE(refusal_of(on(ESP_CUDA, ESP_PRECISION_TF32), base()).find("bf16 and fp16 only"), std::string::npos);
  fused::ModelShape fine = base();
  fine.side = 384;
  EXPECT_NE(refusal_of(on(ESP_CUDA, ESP_PRECISION_BF16), fine).find("577 tokens"), std::string::npos);
}

TEST(ExecutorChoice, LevelsAreNumberedAsTheFusedExecutorKeeps) {
  const std::vector<std::string> levels = recompute_levels(true);
  ASSERT_EQ(levels.size(), fused::kKeepLevels);
  EXPECT_EQ(levels[static_cast<size_t>(fused::Keep::kNoGeluNorm)], "gelu+norm");
  EXPECT_EQ(levels[static_cast<size_t>(fused::Keep::kInputs)], "block");
  EXPECT_EQ(reference_level("block"), 1u);
  EXPECT_THROW(reference_level("gelu"), Failure);
}

TEST(ExecutorChoice, EachLevelKeepsLessThanTheOneBefore) {
  const fused::MemoryNeed need = fused::memory_need(base(), 8, 8, fused::Keep::kAll);
  const size_t units = 14;
  ASSERT_EQ(need.kept.size(), units * fused::kKeepLevels);
  for (size_t level = 1; level < fused::kKeepLevels; ++level) {
    EXPECT_LT(need.kept[level * units + 1], need.kept[(level - 1) * units + 1]) << "level " << level;
  }
}

// Eleven widths of tokens, of them two places four widths wide; products' scratch and partial sums are the rest.
TEST(ExecutorChoice, BlocksThatAreComputedAgainLiveInTwoWidePlaces) {
  const fused::MemoryNeed need = fused::memory_need(base(), 32, 32, fused::Keep::kInputs);
  const uint64_t width = uint64_t{32} * 197 * 768 * 2;
  EXPECT_GE(need.workspace, 11 * width);
  EXPECT_LT(need.workspace, 11 * width + (28ull << 20));
  uint64_t kept = 0;
  for (size_t unit = 0; unit < 14; ++unit) kept += need.kept[3 * 14 + unit];
  EXPECT_LT(kept, 12 * width + (2ull << 20));
}

}  // namespace
}  // namespace esp::vit::test
