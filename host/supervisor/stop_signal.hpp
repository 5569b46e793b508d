// The wish of a user or scheduler that the run shall end.
#pragma once

#include <csignal>

namespace esp {

// Makes SIGINT, SIGTERM and SIGHUP set the flag returned (0 until then, afterwards the signal's number): the run ends
// after the step it is in. A second one ends the process at once with exit code 130, unless a supervisor is there to
// decide that. Signals that the parent ignores (nohup) stay ignored. SIGPIPE is ignored from now on: a closed terminal
// or log pipe must not end a training.
const volatile std::sig_atomic_t* install_stop_handler();

}  // namespace esp
