#include "supervisor/rank_process.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "error.hpp"
#include "supervisor/rank_link.hpp"
#include "supervisor/signal_text.hpp"

namespace esp {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

// The supervisor's blocked and handled signals are its own business. Ignored ones (nohup) stay ignored. A rank writes
// to the terminal from the background, which `stty tostop` would stop.
void reset_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, SIGTSTP}) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, nullptr);
  }
  std::signal(SIGTTOU, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void fail_start(const RankStart& start, const char* what) {
  RankReport report;
  report.rank = start.rank;
  report.exit_code = static_cast<int>(ExitCode::kResource);
  FixedText<sizeof report.message> text;
  text << "rank " << start.rank << " cannot be started: " << what << " failed with error number " << errno;
  std::memcpy(report.message, text.c_str(), text.size());
  send_report(start.report_fd, report);
  _exit(report.exit_code);
}

// After fork: async-signal-safe calls only.
[[noreturn]] void become_rank(const RankStart& start, pid_t supervisor, char* const* arguments,
                              char* const* environment) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != supervisor) _exit(static_cast<int>(ExitCode::kPeerLost));  // it died before the line above
  reset_signals();
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0) fail_start(start, "opening /dev/null");
  if (nothing != STDIN_FILENO) close(nothing);
  for (const int fd : start.inherited) fcntl(fd, F_SETFD, 0);
  execve("/proc/self/exe", arguments, environment);
  fail_start(start, "executing /proc/self/exe");
}

}  // namespace

RankProcess::RankProcess(const RankStart& start) {
  const auto arguments = pointers(start.arguments);
  const auto environment = pointers(start.environment);
  const pid_t supervisor = getpid();
  pid_ = fork();
  if (pid_ < 0) {
    throw Error(ExitCode::kResource, "rank " + std::to_string(start.rank) +
                                         " cannot be started: " + std::strerror(errno) +
                                         "; use a smaller --nproc or a higher process limit (ulimit -u)");
  }
  if (pid_ == 0) become_rank(start, supervisor, arguments.data(), environment.data());
  setpgid(pid_, pid_);  // both sides do it, so that neither has to wait for the other
  alive_ = true;
}

RankProcess::~RankProcess() {
  if (!alive_) return;
  send(SIGKILL);
  while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
}

void RankProcess::send(int signal) {
  if (!alive_) return;
  if (kill(-pid_, signal) != 0) kill(pid_, signal);
}

bool RankProcess::try_reap() {
  if (!alive_) return false;
  siginfo_t info{};
  if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return false;
  kill(-pid_, SIGKILL);  // what it left behind; the number cannot be another's group before the rank is reaped
  waitpid(pid_, &status_, 0);
  alive_ = false;
  return true;
}

}  // namespace esp
