// Which of the first steps are warm-up.
#pragma once

#include <cstddef>
#include <vector>

namespace esp::bench {

// Steps to leave out, at most `allowance` (which leaves at least one): the first step, which touches all memory, and
// those after it until two neighbours lie in the band of the second half of all steps (median +- three robust standard
// deviations, at least 5 %).
size_t detect_warmup(const std::vector<double>& step_ms, size_t allowance);

}  // namespace esp::bench
