// What is said when a process dies of a signal instead of an exception.
#pragma once

#include "runtime/api.hpp"

namespace esp {

// Where the run is, for the message about a crash or a kill: "forward_unit of libvit.so". in_plugin: code of a plugin runs,
// so a crash is the plugin's (exit code kPlugin). Cut after 247 bytes. [any thread; cheap enough for every hook; two
// threads at once may mix their texts]
void set_phase(const char* text, bool in_plugin);

// From now on SIGSEGV, SIGBUS, SIGABRT, SIGFPE and SIGILL, and exceptions nobody catches, end this process with one line
// that names the signal and the phase: told to the supervisor or to torchrun's error file, else printed ("host: ..."),
// with exit code kPlugin or kInternal. No core dump, no stack trace. Child processes made by fork are left alone.
void install_crash_handler(const runtime::RankFacts& ranks);

}  // namespace esp
