// Every strategy and stage at every world size, accumulation and clipping against one oracle, in fp32.
#include "matrix.hpp"

namespace esp::test {
namespace {

std::vector<Cell> cells(const std::vector<int>& worlds) {
  std::vector<Cell> list;
  for (int world : worlds) {
    for (int accumulation : {1, 3}) {
      for (bool clip : {false, true}) list.push_back({"fp32", world, accumulation, clip});
    }
  }
  return list;
}

class Fp32 : public Matrix {};

TEST_P(Fp32, EqualsTheOracle) { expect_every_strategy_equals_the_oracle(); }

INSTANTIATE_TEST_SUITE_P(Of, Fp32, ::testing::ValuesIn(cells({1, 2, 3})), name_of);

}  // namespace
}  // namespace esp::test
