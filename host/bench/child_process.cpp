#include "bench/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "config/value_text.hpp"
#include "error.hpp"
#include "supervisor/signal_text.hpp"

namespace esp::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostOut = 4 << 20;
constexpr size_t kMostErr = 256 << 10;
constexpr int kNotFound = 127, kNotRun = 126;  // as shells say it
constexpr size_t kLongestReason = 400;

[[noreturn]] void throw_errno(const char* what) {
  throw Error(ExitCode::kResource, std::string(what) + ": " + std::strerror(errno));
}

struct Pipe {
  UniqueFd read_end, write_end;
};

Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw_errno("no pipe can be had");
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// After fork: async-signal-safe calls only.
[[noreturn]] void become(char* const* words, pid_t parent, int out, int err) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kNotRun);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) std::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0) {
    _exit(kNotRun);
  }
  execvp(words[0], words);
  _exit(errno == ENOENT ? kNotFound : kNotRun);
}

// Keeps the end of what is written.
class Tail {
 public:
  Tail(UniqueFd fd, size_t most) : fd_(std::move(fd)), most_(most) {}

  int fd() const { return fd_ ? fd_.get() : -1; }

  // A bounded part of what is there, so that a writer that never stops does not keep us from looking at the clock.
  void drain() {
    char buffer[65536];
    for (int round = 0; fd_ && round < 64; ++round) {
      const ssize_t got = read(fd_.get(), buffer, sizeof buffer);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) fd_.reset();
      if (got <= 0) return;
      text_.append(buffer, static_cast<size_t>(got));
      if (text_.size() > 2 * most_) text_.erase(0, text_.size() - most_);
    }
  }

  std::string take() {
    if (text_.size() > most_) text_.erase(0, text_.size() - most_);
    return std::move(text_);
  }

 private:
  UniqueFd fd_;
  size_t most_;
  std::string text_;
};

class Child {
 public:
  explicit Child(const std::vector<std::string>& command) {
    std::vector<char*> words;
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    Pipe out = make_pipe(), err = make_pipe();
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) throw_errno("no process can be started");
    if (pid_ == 0) become(words.data(), parent, out.write_end.get(), err.write_end.get());
    setpgid(pid_, pid_);
    pidfd_ = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    out_ = Tail(std::move(out.read_end), kMostOut);
    err_ = Tail(std::move(err.read_end), kMostErr);
    if (!pidfd_) throw_errno("a process cannot be watched");
  }
  ~Child() {
    if (pid_ <= 0) return;
    send(SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void send(int signal) { kill(-pid_, signal); }

  // Waits at most so long; true when the child has ended.
  bool wait(int stop_fd, int timeout_ms) {
    pollfd watched[] = {
        {pidfd_.get(), POLLIN, 0}, {out_.fd(), POLLIN, 0}, {err_.fd(), POLLIN, 0}, {stop_fd, POLLIN, 0}};
    poll(watched, 4, timeout_ms);
    out_.drain();
    err_.drain();
    return (watched[0].revents & POLLIN) != 0;
  }

  // Call once it has ended. What it left running in its group ends too, and with that the pipes.
  ChildEnd reap() {
    send(SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    out_.drain();
    err_.drain();
    ChildEnd end;
    if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    end.out = out_.take();
    end.err = err_.take();
    return end;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  Tail out_{UniqueFd(), 0}, err_{UniqueFd(), 0};
};

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return "";
  const size_t begin = text.rfind('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

// What `host` says when it fails, without its name; the first such line is the cause.
std::string host_message(const std::string& text) {
  constexpr std::string_view kHead = "host: ";
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    if (line.starts_with(kHead) && !line.starts_with("host: warning: ")) return line.substr(kHead.size());
    begin = end + 1;
  }
  return "";
}

}  // namespace

std::string ChildEnd::reason() const {
  std::string said = host_message(err);
  if (said.empty()) said = last_line(err);
  if (said.size() > kLongestReason) said = said.substr(0, kLongestReason) + "...";
  said = printable(said);
  std::string how;
  if (timed_out) {
    how = "did not end within bench.time_limit";
  } else if (signal != 0) {
    how = "was killed by signal " + std::to_string(signal) + " (" + signal_name(signal) + ")";
  } else if (exit_code == kNotFound) {
    how = "no such program";
  }
  if (how.empty()) return said.empty() ? "ended with exit code " + std::to_string(exit_code) : said;
  return said.empty() ? how : how + "; last it said: " + said;
}

int StopSignals::count() {
  while (queue_.next() != 0) ++count_;
  return count_;
}

ChildEnd run_child(const std::vector<std::string>& command, std::chrono::milliseconds limit,
                   std::chrono::milliseconds grace, StopSignals& signals) {
  Child child(command);
  auto deadline = Clock::now() + limit;
  bool asked = false, timed_out = false;
  while (true) {
    const int stops = signals.count();  // one may have come before the child was there
    const bool over = Clock::now() >= deadline;
    if (asked && (over || stops > 1)) {
      child.send(SIGKILL);
      deadline = Clock::time_point::max();
    } else if (!asked && (over || stops > 0)) {
      asked = true;
      timed_out = stops == 0;
      child.send(SIGTERM);
      deadline = Clock::now() + grace;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (child.wait(signals.fd(), static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000)))) break;
  }
  ChildEnd end = child.reap();
  end.timed_out = timed_out;
  end.interrupted = signals.count() > 0;
  return end;
}

}  // namespace esp::bench
