#include "supervisor/supervise.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>

#include "supervisor/rank_link.hpp"
#include "supervisor/rank_process.hpp"
#include "supervisor/ranks.hpp"
#include "supervisor/signal_queue.hpp"
#include "supervisor/signal_text.hpp"
#include "supervisor/start_ranks.hpp"

namespace esp {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxRanks = 1024;
constexpr int kPeerLost = static_cast<int>(ExitCode::kPeerLost);
constexpr int kInterrupted = static_cast<int>(ExitCode::kInterrupted);

[[noreturn]] void throw_errno(const std::string& what) {
  throw Error(ExitCode::kResource, what + ": " + std::strerror(errno));
}

struct ReportPipe {
  UniqueFd read_end, write_end;
};

ReportPipe make_report_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw_errno("no pipe can be had to the ranks");
  ReportPipe pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return pipe;
}

// Why the run ends, once known.
struct Cause {
  int exit_code = 0;
  std::string message;
  bool secondary = false;  // there is another error behind it
};

// The ranks of one run, from start to the last one's end.
class Group {
 public:
  Group(int count, const std::vector<std::string>& arguments, const SuperviseTimes& times);
  int run();

 private:
  bool any_alive() const;
  void wait_for_news();
  void take_signals();
  void request_stop(int signal);
  void pause();
  void take_reports();
  void take_deaths();
  void consider(const Cause& cause);
  void decide(const Cause& cause);
  void end_all(std::chrono::milliseconds grace);
  void kill_all();
  void pass_deadlines();
  Cause death(size_t rank) const;
  Phase phase_of(size_t rank) const;
  int conclude() const;

  SuperviseTimes times_;
  SignalQueue signals_{SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
  ReportPipe reports_ = make_report_pipe();
  UniqueFd phase_memory_;
  PhaseCells phases_;
  std::vector<std::unique_ptr<RankProcess>> ranks_;
  std::vector<bool> reported_;

  int stop_signal_ = 0;                 // the user's first
  bool killed_ = false;                 // by us: deaths say nothing from then on
  bool ending_ = false;                 // the ranks were asked to end
  std::optional<Cause> cause_;          // decided
  std::optional<Cause> secondary_;      // a peer-lost error, waiting for the error behind it
  std::optional<std::string> stopped_;  // what a rank said when it stopped on request
  std::optional<Clock::time_point> secondary_until_, kill_at_;
};

Group::Group(int count, const std::vector<std::string>& arguments, const SuperviseTimes& times)
    : times_(times),
      phase_memory_(PhaseCells::create_memory(count)),
      phases_(UniqueFd(phase_memory_ ? fcntl(phase_memory_.get(), F_DUPFD_CLOEXEC, 0) : -1), count),
      reported_(static_cast<size_t>(count), false) {
  ranks_ = start_ranks(count, arguments, reports_.write_end.get(), phase_memory_.get());
  reports_.write_end.reset();
  phase_memory_.reset();
}

bool Group::any_alive() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const auto& rank) { return rank->alive(); });
}

int Group::run() {
  while (any_alive()) {
    wait_for_news();
    take_signals();
    take_deaths();
    pass_deadlines();
  }
  take_reports();
  return conclude();
}

void Group::wait_for_news() {
  int timeout = -1;
  for (const auto& deadline : {secondary_until_, kill_at_}) {
    if (!deadline) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
    const int wait = static_cast<int>(std::max<long>(left, 0));
    timeout = timeout < 0 ? wait : std::min(timeout, wait);
  }
  pollfd watched[] = {{signals_.fd(), POLLIN, 0}, {reports_.read_end.get(), POLLIN, 0}};
  poll(watched, 2, timeout);
  // Every writer is gone: the deaths follow by SIGCHLD, and a hung-up pipe would wake poll() without end.
  if ((watched[1].revents & POLLHUP) && !(watched[1].revents & POLLIN)) reports_.read_end.reset();
}

void Group::take_signals() {
  while (const int signal = signals_.next()) {
    if (signal == SIGTSTP) {
      pause();
    } else if (signal != SIGCHLD) {
      request_stop(signal);
    }
  }
}

void Group::request_stop(int signal) {
  const bool again = stop_signal_ != 0;
  if (!again) stop_signal_ = signal;
  if (again || ending_ || signal == SIGQUIT) {
    kill_all();
    return;
  }
  if (signal == SIGINT) std::fputs("\nhost: stopping after this step; press Ctrl-C again to end at once\n", stderr);
  end_all(times_.stop);
}

// Ctrl-Z: ranks have process groups of their own, so they are stopped and continued together with this process.
void Group::pause() {
  for (auto& rank : ranks_) rank->send(SIGSTOP);
  raise(SIGSTOP);
  for (auto& rank : ranks_) rank->send(SIGCONT);
}

void Group::take_reports() {
  RankReport report;
  const auto size = static_cast<ssize_t>(sizeof report);
  while (reports_.read_end && read(reports_.read_end.get(), &report, sizeof report) == size) {
    if (report.rank < 0 || report.rank >= static_cast<int>(ranks_.size())) continue;
    report.message[sizeof report.message - 1] = 0;
    reported_[static_cast<size_t>(report.rank)] = true;
    const std::string message = report.message;
    const bool named = ranks_.size() == 1 || message.starts_with("rank " + std::to_string(report.rank) + " ");
    consider({report.exit_code, named ? message : "rank " + std::to_string(report.rank) + ": " + message,
              report.exit_code == kPeerLost});
  }
}

// A rank writes its report before it ends: reports are read after its death was seen, and a death counts only without
// one.
void Group::take_deaths() {
  std::vector<size_t> dead;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i]->try_reap()) dead.push_back(i);
  }
  take_reports();
  for (const size_t i : dead) {
    const int status = ranks_[i]->status();
    const bool by_our_request = killed_ || (ending_ && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    // Success out of the middle of a plugin's code is none: the plugin called exit().
    const bool failed = status != 0 || phase_of(i).in_plugin;
    if (failed && !reported_[i] && !by_our_request) consider(death(i));
  }
}

// The first error wins, but for two kinds: "peer lost" has another error behind it, and a stop on request is none.
void Group::consider(const Cause& cause) {
  if (cause_) return;
  if (cause.exit_code == kInterrupted) {
    if (!stopped_) stopped_ = cause.message;
    if (!ending_) end_all(times_.stop);
  } else if (!cause.secondary) {
    decide(cause);
  } else if (!secondary_ && !ending_) {
    secondary_ = cause;
    secondary_until_ = Clock::now() + times_.cause;
  }
}

void Group::decide(const Cause& cause) {
  cause_ = cause;
  secondary_until_.reset();
  end_all(times_.fail);
}

void Group::end_all(std::chrono::milliseconds grace) {
  const auto kill_at = Clock::now() + grace;
  kill_at_ = kill_at_ ? std::min(*kill_at_, kill_at) : kill_at;
  if (!ending_) {
    for (auto& rank : ranks_) rank->send(SIGTERM);
  }
  ending_ = true;
}

void Group::kill_all() {
  killed_ = true;
  ending_ = true;
  kill_at_.reset();
  for (auto& rank : ranks_) rank->send(SIGKILL);
}

void Group::pass_deadlines() {
  const auto now = Clock::now();
  if (secondary_until_ && now >= *secondary_until_) decide(*secondary_);
  if (kill_at_ && now >= *kill_at_) kill_all();
}

Phase Group::phase_of(size_t rank) const {
  const PhaseCell* cell = phases_.cell(static_cast<int>(rank));
  return cell ? cell->load() : Phase{};
}

// What is known of a rank that ended without a word.
Cause Group::death(size_t rank) const {
  const Phase phase = phase_of(rank);
  const std::string who = "rank " + std::to_string(rank);
  const std::string where = *phase.text ? " in " + one_line(phase.text) : "";
  const int status = ranks_[rank]->status();
  if (!WIFSIGNALED(status)) {
    const int code = WEXITSTATUS(status);
    if (code == 0) {
      return {static_cast<int>(ExitCode::kPlugin),
              who + " ended" + where + ", before the run was over: exit() was called"};
    }
    return {code, who + " ended with exit code " + std::to_string(code) + where + " without saying why",
            code == kPeerLost};
  }
  const int signal = WTERMSIG(status);
  const std::string named = "signal " + std::to_string(signal) + " (" + signal_name(signal) + ")" + where;
  constexpr int kCrashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  if (std::find(std::begin(kCrashes), std::end(kCrashes), signal) != std::end(kCrashes)) {
    const auto code = phase.in_plugin ? ExitCode::kPlugin : ExitCode::kInternal;
    return {static_cast<int>(code), who + " crashed with " + named};
  }
  const bool perhaps_memory = signal == SIGKILL;
  return {kPeerLost, who + " was killed by " + named +
                         (perhaps_memory ? "; if nobody did that, memory ran out (dmesg says so)" : "")};
}

int Group::conclude() const {
  const auto say = [](const std::string& message) { std::fprintf(stderr, "host: %s\n", message.c_str()); };
  if (cause_) {
    say(cause_->message);
    return cause_->exit_code;
  }
  if (!stop_signal_ && secondary_) {
    say(secondary_->message);
    return secondary_->exit_code;
  }
  const auto ended_well = [](const auto& rank) { return rank->status() == 0; };
  if (std::all_of(ranks_.begin(), ranks_.end(), ended_well)) return 0;
  if (stop_signal_) {
    say(std::string("interrupted by ") + signal_name(stop_signal_) + (killed_ ? "; ranks were killed" : ""));
  } else {
    say(stopped_.value_or("a rank was interrupted"));
  }
  return kInterrupted;
}

}  // namespace

int supervise(int count, const std::vector<std::string>& arguments, const SuperviseTimes& times) {
  if (count < 1 || count > kMaxRanks) {
    throw Error(ExitCode::kUsage, "nproc = " + std::to_string(count) + ": a machine runs 1 to " +
                                      std::to_string(kMaxRanks) +
                                      " ranks; more machines mean torchrun, Slurm or Open MPI");
  }
  struct sigaction chosen {};
  chosen.sa_handler = SIG_DFL;  // an inherited SIG_IGN would reap the ranks unseen
  sigaction(SIGCHLD, &chosen, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a closed log pipe ends neither this process nor, by inheritance, the ranks
  return Group(count, arguments, times).run();
}

int supervise(int count, const std::vector<std::string>& arguments) { return supervise(count, arguments, {}); }

}  // namespace esp
