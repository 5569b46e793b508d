#include "modules/probe.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "modules/entry.hpp"
#include "modules/library.hpp"
#include "modules/load_error.hpp"
#include "modules/text.hpp"

namespace esp {
namespace {

using Clock = std::chrono::steady_clock;

// What the child sends: lines of a letter, a space and a rest. The child may write anything, so no line is trusted.
//   s STAGE         what it is about to do
//   l NUMBER TEXT   a LoadError         e CODE TEXT   another Error         d   all is well
constexpr size_t kReportLimit = 1 << 16;

void send(int fd, const std::string& line) {
  std::string text = one_line(line) + "\n";
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t n = write(fd, text.data() + sent, text.size() - sent);
    if (n < 0 && errno != EINTR) return;
    if (n > 0) sent += static_cast<size_t>(n);
  }
}

// Nothing of this process but its memory: a crash stays quiet, signals do what they do by default, and the child does
// not outlive its parent.
void become_quiet() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpgid(0, 0);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(nowhere, fd);
}

[[noreturn]] void child(const std::filesystem::path& path, const PluginFile& file, int fd) {
  become_quiet();
  try {
    open_library(path, file, [fd](const std::string& stage) { send(fd, "s " + stage); });
    send(fd, "d");
  } catch (const LoadError& error) {
    send(fd, "l " + std::to_string(error.number()) + " " + error.text());
  } catch (const Error& error) {
    send(fd, "e " + std::to_string(static_cast<int>(error.code())) + " " + error.what());
  } catch (...) {
    send(fd, "e " + std::to_string(static_cast<int>(ExitCode::kInternal)) + " " + describe_exception());
  }
  _exit(0);
}

struct Report {
  std::string stage = "the start";
  char verdict = 0;  // 'l', 'e', 'd'; 0: the child never came to one
  int number = 0;
  std::string text;
};

void read_line(const std::string& line, Report& report) {
  if (line.starts_with("s ")) report.stage = line.substr(2);
  if (line == "d") report.verdict = 'd';
  if (!line.starts_with("l ") && !line.starts_with("e ")) return;
  const size_t space = line.find(' ', 2);
  if (space == std::string::npos) return;
  report.verdict = line[0];
  report.number = std::atoi(line.c_str() + 2);
  report.text = line.substr(space + 1);
}

// A running child; killed with all that it started, and reaped, at the latest when this goes.
class Child {
 public:
  Child(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  ~Child() {
    wait();
    close(fd_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Reads until a verdict, the end of the pipe or the deadline. False: the deadline passed.
  bool listen(Clock::time_point deadline, Report& report) {
    std::string pending;
    for (size_t total = 0; report.verdict == 0 && total < kReportLimit;) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      pollfd readable{fd_, POLLIN, 0};
      const int ready = left > 0 ? poll(&readable, 1, static_cast<int>(left)) : 0;
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) return false;
      char part[4096];
      const ssize_t n = read(fd_, part, sizeof part);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return true;
      total += static_cast<size_t>(n);
      pending.append(part, static_cast<size_t>(n));
      for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
        read_line(pending.substr(0, end), report);
      }
    }
    return true;
  }

  // Kills what still runs and gives the wait status. The pipe may have ended a moment before the child does.
  int wait() {
    if (pid_ <= 0) return status_;
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status_;
  }

  // Waits for a child whose pipe has ended to end by itself, so that its own status is seen and not the one of a kill.
  bool ended_by(Clock::time_point deadline) {
    for (;;) {
      const pid_t pid = waitpid(pid_, &status_, WNOHANG);
      if (pid == pid_) {
        kill(-pid_, SIGKILL);
        pid_ = 0;
        return true;
      }
      if (Clock::now() >= deadline) return false;
      poll(nullptr, 0, 1);
    }
  }

 private:
  pid_t pid_;
  int fd_;
  int status_ = 0;
};

std::string seconds(std::chrono::milliseconds limit) {
  std::string text = std::to_string(static_cast<double>(limit.count()) / 1000.0);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

[[noreturn]] void refuse_ending(const std::string& path, const Report& report, int status) {
  if (!WIFSIGNALED(status)) {
    throw LoadError(31, path,
                    "it ended the process (exit code " + std::to_string(WEXITSTATUS(status)) + ") during " +
                        report.stage + "; a library must not call exit");
  }
  const int signal = WTERMSIG(status);
  if (signal == SIGABRT) {
    throw LoadError(34, path,
                    "it aborted during " + report.stage + ": an exception escaped, or an assertion of its own failed");
  }
  throw LoadError(
      31, path,
      "it crashed with signal " + std::to_string(signal) + " (" + strsignal(signal) + ") during " + report.stage);
}

}  // namespace

void probe_library(const std::filesystem::path& path, const PluginFile& file, std::chrono::milliseconds limit) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    throw Error(ExitCode::kResource, "no pipe for a child process: " + std::string(strerror(errno)));
  const pid_t pid = fork();
  if (pid == 0) child(path, file, ends[1]);
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    throw Error(ExitCode::kResource, "no child process to try " + path.string() + " in: " + strerror(errno));
  }
  const auto deadline = Clock::now() + limit;
  Child process(pid, ends[0]);
  Report report;
  if (!process.listen(deadline, report) || (report.verdict == 0 && !process.ended_by(deadline))) {
    throw LoadError(32, path.string(), "still in " + report.stage + " after " + seconds(limit));
  }
  if (report.verdict == 0) refuse_ending(path.string(), report, process.wait());
  if (report.verdict == 'l') throw LoadError(report.number, path.string(), report.text);
  if (report.verdict == 'e') throw Error(static_cast<ExitCode>(report.number), report.text);
}

}  // namespace esp
