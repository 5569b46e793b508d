#include "trial_memory.hpp"

#include <gtest/gtest.h>

#include <set>

namespace esp::vit::fused {
namespace {

// Nothing is written here: addresses are all that matters.
constexpr uintptr_t kBase = uintptr_t{1} << 40;
void* const kMemory = reinterpret_cast<void*>(kBase);
constexpr size_t kCache = 50 << 20;

const MatmulShape kForward{Product::kForward, 1576, 3072, 768, 0, 0, true, true, Sum::kHalf};
const MatmulShape kInput{Product::kInput, 1576, 3072, 768, 0, 0, false, false, Sum::kHalf};
const MatmulShape kWeight{Product::kWeight, 1576, 3072, 768, 0, 0, false, false, Sum::kFloat};
const MatmulShape kStrided{Product::kForward, 8, 768, 768, 197 * 768, 0, true, false, Sum::kHalf};
const std::vector<MatmulShape> kShapes = {kForward, kInput, kWeight, kStrided};

struct Range {
  uintptr_t begin, end;
};
Range range(const void* at, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(at);
  return {begin, begin + bytes};
}

std::vector<Range> inputs(const MatmulShape& shape, const MatmulOperands& operands) {
  std::vector<Range> all;
  if (shape.product != Product::kInput) all.push_back(range(operands.x, shape.x_bytes()));
  if (shape.product != Product::kWeight) all.push_back(range(operands.weight, shape.weight_bytes()));
  if (shape.product != Product::kForward) all.push_back(range(operands.y, shape.y_bytes()));
  if (shape.residual) all.push_back(range(operands.residual, shape.y_bytes()));
  return all;
}

Range result(const MatmulShape& shape, const MatmulOperands& operands) {
  if (shape.product == Product::kForward) return range(operands.y, shape.y_bytes());
  if (shape.product == Product::kInput) return range(operands.x, shape.x_bytes());
  return range(operands.weight, shape.weight_bytes());
}

TEST(TrialMemory, StaysWithinItsBytesAndNeverReadsAResult) {
  const size_t least = TrialMemory::least_bytes(kShapes);
  for (const size_t bytes : {least, 2 * least, size_t{1} << 30}) {
    const TrialMemory memory(kShapes, kCache, kMemory, bytes);
    uintptr_t last_input = 0, first_result = ~uintptr_t{0};
    for (const MatmulShape& shape : kShapes) {
      for (size_t call = 0; call < 40; ++call) {
        const MatmulOperands operands = memory.operands(shape, call);
        for (const Range& input : inputs(shape, operands)) {
          EXPECT_GE(input.begin, kBase);
          last_input = std::max(last_input, input.end);
        }
        const Range written = result(shape, operands);
        first_result = std::min(first_result, written.begin);
        EXPECT_LE(written.end, kBase + bytes) << shape.text();
      }
    }
    EXPECT_LE(last_input, first_result);
  }
}

TEST(TrialMemory, KeepsTheRecentInputAndMovesTheRestThroughMoreThanTheCache) {
  const TrialMemory memory(kShapes, kCache, kMemory, size_t{1} << 30);
  std::set<const void*> x, weight, residual, y;
  for (size_t call = 0; call < 40; ++call) {
    const MatmulOperands operands = memory.operands(kForward, call);
    x.insert(operands.x);
    weight.insert(operands.weight);
    residual.insert(operands.residual);
    y.insert(operands.y);
  }
  EXPECT_EQ(x.size(), 1u);
  EXPECT_EQ(weight.size(), y.size());
  EXPECT_EQ(residual.size(), y.size());
  EXPECT_GT(y.size() * (kForward.weight_bytes() + 2 * kForward.y_bytes()), kCache);
}

TEST(TrialMemory, GivesWhatTheProductWants) {
  const TrialMemory memory(kShapes, kCache, kMemory, TrialMemory::least_bytes(kShapes));
  EXPECT_NE(memory.operands(kForward, 0).bias, nullptr);
  EXPECT_NE(memory.operands(kForward, 0).residual, nullptr);
  EXPECT_EQ(memory.operands(kStrided, 0).residual, nullptr);
  EXPECT_EQ(memory.operands(kInput, 0).bias, nullptr);
  EXPECT_FALSE(memory.operands(kWeight, 0).add);
}

}  // namespace
}  // namespace esp::vit::fused
