// The matrix on more ranks than the machines of a pipeline have cores.
#include "matrix.hpp"

namespace esp::test {
namespace {

class WideFp32 : public Matrix {};

TEST_P(WideFp32, EqualsTheOracle) { expect_every_strategy_equals_the_oracle(); }

INSTANTIATE_TEST_SUITE_P(Of, WideFp32,
                         ::testing::Values(Cell{"fp32", 4, 1, true}, Cell{"fp32", 4, 3, false},
                                           Cell{"fp32", 5, 1, false}, Cell{"fp32", 5, 3, true}),
                         name_of);

}  // namespace
}  // namespace esp::test
