// What is left in the process when an instance is gone.
#pragma once

#include <functional>

#include "verify/finding.hpp"

namespace esp::verify {

// Runs `once` (an instance's whole life) again and again: LIFE-03 where heap, threads or open files grow with each.
// times: in each of some rounds, of which all must grow.
void check_leftovers(const std::function<void()>& once, int times, Findings& findings);

}  // namespace esp::verify
