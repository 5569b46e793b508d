// What `host eval` prints.
#pragma once

#include <ostream>

#include "runtime/api.hpp"

namespace esp {

// Loss, k of n, and k of n per class.
void print_evaluation(std::ostream& out, const runtime::StartReport& start, const runtime::Evaluation& evaluation);

}  // namespace esp
