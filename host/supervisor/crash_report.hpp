// What is said when a process dies of a signal instead of an exception.
#pragma once

#include "runtime/api.hpp"

namespace esp {

// From now on SIGSEGV, SIGBUS, SIGABRT, SIGFPE and SIGILL, and exceptions nobody catches, end this process with one
// line that names the signal and the phase (phase.hpp): told to the supervisor or to torchrun's error file, else
// printed
// ("host: ...") with exit code kPlugin or kInternal. No core dump, no stack trace. Children made by fork are left
// alone. [main thread, once]
void install_crash_handler(const runtime::RankFacts& ranks);

}  // namespace esp
