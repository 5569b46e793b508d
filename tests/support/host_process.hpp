// The staged host executable as a child process: started, watched, timed, and never left behind.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "support/scratch.hpp"

namespace esp::test {

// How a process ended. `exit_code` is -1 when a signal ended it or the time limit did.
struct Outcome {
  int exit_code = -1;
  int signal = 0;
  bool timed_out = false;
  double seconds = 0;
  std::string out, err;

  // For messages of failed checks: everything there is to know.
  std::string describe() const;
  // Lines of stderr without those of the progress bar.
  std::vector<std::string> error_lines() const;
};

struct HostOptions {
  std::string folder;  // working folder; empty: the scratch folder of the process
  std::map<std::string, std::string>
      environment;                  // added to the test's own, launchers' variables are removed from that
  std::vector<std::string> prefix;  // a program in front of the host, e.g. a shell that sets limits
};

// Started by the constructor. All processes that descend from it are killed by the destructor.
class HostProcess {
 public:
  explicit HostProcess(const std::vector<std::string>& arguments, const HostOptions& options = {});
  ~HostProcess();
  HostProcess(const HostProcess&) = delete;
  HostProcess& operator=(const HostProcess&) = delete;

  pid_t pid() const { return pid_; }

  // Blocks until the process has ended, or kills it and its descendants after `limit` seconds.
  Outcome wait(double limit);

  // Ends the process with SIGKILL.
  void kill() const;
  void signal(int number) const;

  // Live processes that descend from this one (the process itself not among them), whoever their parent is by now:
  // found by a mark in their environment. By rank where the process is a rank of the run (ESPALIER_RANK), else -1.
  std::vector<pid_t> descendants() const;

  // What the process has written so far.
  std::string out() const;
  std::string err() const;

 private:
  Scratch scratch_;
  std::string mark_;
  pid_t pid_ = -1;
  int pidfd_ = -1;
  double started_ = 0;
  bool reaped_ = false;
};

// Runs the host to its end.
Outcome run_host(const std::vector<std::string>& arguments, double limit = 60, const HostOptions& options = {});

// Waits until `holds` is true, looking every few milliseconds; false when it is not after `limit` seconds. For
// conditions of other processes, which nothing announces.
template <class Condition>
bool eventually(double limit, Condition holds);

double now_seconds();
void pause_briefly();

template <class Condition>
bool eventually(double limit, Condition holds) {
  const double end = now_seconds() + limit;
  while (!holds()) {
    if (now_seconds() > end) return false;
    pause_briefly();
  }
  return true;
}

}  // namespace esp::test
