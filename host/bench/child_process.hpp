// A program that is run to its end: bounded in time and in what it may say.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "supervisor/signal_queue.hpp"

namespace esp::bench {

struct ChildEnd {
  int exit_code = -1;        // -1: a signal or the time limit ended it, or it could not be started
  int signal = 0;            // that ended it
  bool timed_out = false;    // then it was ended by us
  bool interrupted = false;  // the user stopped the sweep meanwhile
  std::string out, err;      // the last 4 MiB and 256 KiB of what it wrote

  // One line for an end that is no success.
  std::string reason() const;
};

// Signals by which a user ends a sweep. Blocked while this lives, so that one that comes between two runs is kept.
class StopSignals {
 public:
  int count();  // how many have come
  int fd() const { return queue_.fd(); }

 private:
  SignalQueue queue_{SIGINT, SIGTERM, SIGHUP};
  int count_ = 0;
};

// Runs `command` (looked for in PATH) in a process group of its own, with /dev/null as input. Over `limit` or on a stop
// signal it gets SIGTERM, and after `grace` or on a second signal SIGKILL, as do all processes of its group; it dies
// with this process. Throws Error(kResource) when no process or pipe can be had; a command that does not exist ends
// with 127.
ChildEnd run_child(const std::vector<std::string>& command, std::chrono::milliseconds limit,
                   std::chrono::milliseconds grace, StopSignals& signals);

}  // namespace esp::bench
