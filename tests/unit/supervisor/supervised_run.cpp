#include "supervised_run.hpp"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "error.hpp"

namespace esp::test {
namespace {

[[noreturn]] void run_supervisor(const std::vector<std::string>& actions, const SuperviseTimes& times) {
  int code = 97;
  try {
    code = supervise(static_cast<int>(actions.size()), actions, times);
  } catch (const Error& error) {
    std::fprintf(stderr, "thrown: %s\n", error.what());
  }
  std::fflush(nullptr);
  std::_Exit(code);
}

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  return text;
}

}  // namespace

SupervisedRun::SupervisedRun(const std::vector<std::string>& actions, const SuperviseTimes& times) {
  int out[2], err[2];
  if (pipe(out) != 0 || pipe(err) != 0) std::abort();
  std::fflush(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    for (const int fd : {out[0], out[1], err[0], err[1]}) close(fd);
    run_supervisor(actions, times);
  }
  close(out[1]);
  close(err[1]);
  out_fd_ = out[0];
  err_fd_ = err[0];
}

SupervisedRun::~SupervisedRun() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(out_fd_);
  close(err_fd_);
}

void SupervisedRun::signal(int number) const { kill(pid_, number); }

std::map<int, pid_t> SupervisedRun::wait_until_ready(int count) {
  std::map<int, pid_t> ready;
  std::string line;
  for (char c; ready.size() < static_cast<size_t>(count) && read(out_fd_, &c, 1) == 1;) {
    line += c;
    if (c != '\n') continue;
    int rank = 0, pid = 0;
    if (std::sscanf(line.c_str(), "ready %d %d", &rank, &pid) == 2) ready[rank] = pid;
    line.clear();
  }
  return ready;
}

int SupervisedRun::finish() {
  err_ = read_all(err_fd_);  // ends when the supervisor and all that it started are gone
  out_ = read_all(out_fd_);
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

bool vanishes(pid_t pid) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::chrono::steady_clock::now() < until) {
    if (kill(pid, 0) != 0 && errno == ESRCH) return true;
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::ostringstream text;
    text << stat.rdbuf();
    const std::string all = text.str();
    const size_t state = all.rfind(") ");
    if (state != std::string::npos && all[state + 2] == 'Z') return true;  // an orphan that nobody has reaped yet
    poll(nullptr, 0, 10);
  }
  return false;
}

}  // namespace esp::test
