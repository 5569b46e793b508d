// Runs the recorded work of all ranks in one thread: no race needs to happen by chance, no mismatch can hang.
#pragma once

#include <random>
#include <vector>

#include "verify/finding.hpp"
#include "verify/work.hpp"

namespace esp::verify {

// Which of several operations that may run next does.
enum class Order { kIssued, kRandom, kComputeLast, kComputeFirst };

// work[rank]. Reports COMM-01 and runs nothing when ranks disagree; returns whether everything ran.
bool execute(std::vector<std::vector<Op>>& work, Order order, std::mt19937_64& random, Findings& findings);

}  // namespace esp::verify
