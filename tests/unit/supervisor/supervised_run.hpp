// A supervisor in a child process, watched from outside: its streams, its ranks, its end.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "supervisor/supervise.hpp"

namespace esp::test {

class SupervisedRun {
 public:
  // One rank per action (see scripted_rank.cpp). The streams are ours.
  SupervisedRun(const std::vector<std::string>& actions, const SuperviseTimes& times);
  ~SupervisedRun();

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  // Reads stdout until every one of `count` ranks has announced itself; their process ids.
  std::map<int, pid_t> wait_until_ready(int count);
  // Waits for the end; the exit code, or 1000 + the signal.
  int finish();
  const std::string& out() const { return out_; }  // after finish
  const std::string& err() const { return err_; }

 private:
  pid_t pid_ = -1;
  int out_fd_ = -1, err_fd_ = -1;
  std::string out_, err_;
};

// Whether a process is gone within five seconds (a zombie whose parent is this process counts as gone).
bool vanishes(pid_t pid);

}  // namespace esp::test
