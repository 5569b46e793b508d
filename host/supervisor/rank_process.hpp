// One local rank as its supervisor sees it: a child process in a process group of its own.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace esp {

// What a rank is started with; strings are complete ("NAME=value").
struct RankStart {
  int rank = 0;
  std::vector<std::string> arguments;    // with argv[0]
  std::vector<std::string> environment;  // all of it
  std::vector<int> inherited;            // descriptors that stay open in it
  int report_fd = -1;                    // one of them: where a failed start is reported
};

// Not copied, not moved: it stands for a process. Ends and reaps what is left of it when destroyed.
class RankProcess {
 public:
  explicit RankProcess(const RankStart& start);  // throws Error(kResource) when no process can be had
  RankProcess(const RankProcess&) = delete;
  ~RankProcess();

  bool alive() const { return alive_; }
  void send(int signal);                  // to it and what it has started
  bool try_reap();                        // true when it has ended just now; what it had started is gone then too
  int status() const { return status_; }  // of wait(), once not alive

 private:
  pid_t pid_ = -1;
  bool alive_ = false;
  int status_ = 0;
};

}  // namespace esp
