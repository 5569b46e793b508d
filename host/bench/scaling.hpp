// What more ranks bring: a row beside the one with the same settings and one rank.
#pragma once

#include "bench/sweep_result.hpp"

namespace esp::bench {

// samples/s over as many times those of one rank as the row has ranks; kUnknown without such a row.
double scaling_efficiency(const SweepResult& result, const Row& row);

}  // namespace esp::bench
