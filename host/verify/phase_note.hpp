// What a test's process is doing, where its parent can read it when the process is gone.
#pragma once

#include "verify/finding.hpp"

namespace esp::verify {

void note_phase(const Where& where);  // cheap; kept in memory that both processes see

}  // namespace esp::verify
