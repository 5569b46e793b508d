#include "scripted_rank.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include "supervisor/crash_report.hpp"
#include "supervisor/phase.hpp"
#include "supervisor/ranks.hpp"
#include "supervisor/stop_signal.hpp"

namespace esp::test {
namespace {

using Ranks = runtime::RankFacts;

[[noreturn]] void end_with(const Ranks& ranks, ExitCode code, const std::string& message) {
  report_rank_error(ranks, static_cast<int>(code), message);
  std::_Exit(static_cast<int>(code));
}

// Like a rank that trains until it is asked to stop, then ends in an orderly way.
int train_until_stopped(const Ranks& ranks, const volatile std::sig_atomic_t* stop) {
  // poll() also ends when a signal comes; the flag may have been set just before.
  while (!*stop) poll(nullptr, 0, 20);
  end_with(ranks, ExitCode::kInterrupted, "stopped after step 12");
}

[[noreturn]] void hang() {
  for (;;) pause();
}

// Says on stdout that it is there, so that the test may send signals or look at it.
void announce(const Ranks& ranks) {
  std::printf("ready %d %d\n", ranks.rank, getpid());
  std::fflush(stdout);
}

bool socket_listens(const Ranks& ranks) {
  int listens = 0;
  socklen_t size = sizeof listens;
  return getsockopt(ranks.listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 1;
}

int facts_are_right(const Ranks& ranks) {
  const bool right = ranks.launcher == "supervisor" && ranks.world == 3 && ranks.local_world == 3 &&
                     ranks.local_rank == ranks.rank && ranks.master_addr == "127.0.0.1" && ranks.master_port > 0 &&
                     !ranks.store_prefix.empty() && (ranks.rank == 0) == (ranks.listen_fd >= 0) &&
                     (ranks.rank != 0 || socket_listens(ranks)) && getpgrp() == getpid();
  return right ? 0 : 50 + ranks.rank;
}

int leave_a_grandchild(const Ranks& ranks) {
  const pid_t child = fork();
  if (child == 0) hang();
  std::printf("grandchild %d\n", child);
  std::fflush(stdout);
  return 0;
}

// Deeper than any stack.
volatile int deep = 1 << 30;
[[gnu::noinline]] int overflow(int depth) {
  volatile char page[4096];
  page[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : overflow(depth - 1) + page[0];
}

// Fails when the test says so, which is when the other ranks are where it wants them.
int fail_on_signal(const Ranks& ranks) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  announce(ranks);
  int signal = 0;
  sigwait(&set, &signal);
  end_with(ranks, ExitCode::kData, "image 3 is damaged");
}

int act(const std::string& action, const Ranks& ranks, const volatile std::sig_atomic_t* stop) {
  if (action == "ok") return 0;
  if (action == "facts") return facts_are_right(ranks);
  if (action == "fail") end_with(ranks, ExitCode::kData, "image 3 is damaged");
  if (action == "silent") return 9;
  if (action == "peer-lost") end_with(ranks, ExitCode::kPeerLost, "rank 1 does not answer");
  if (action == "late-fail") {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));  // behind the peer-lost error that it causes elsewhere
    end_with(ranks, ExitCode::kNumeric, "the loss is not finite");
  }
  if (action == "crash") {
    set_phase("forward_unit of libvit.so", true);
    raise(SIGSEGV);
  }
  if (action == "overflow") {
    set_phase("reading weights", false);
    return overflow(deep);
  }
  if (action == "throw") {
    set_phase("loading", false);
    std::thread([] { throw std::runtime_error("thrown in a thread"); }).join();
  }
  if (action == "killed") {
    set_phase("all-reduce", false);
    raise(SIGKILL);
  }
  if (action == "grandchild") return leave_a_grandchild(ranks);
  if (action == "fail-on-signal") return fail_on_signal(ranks);
  announce(ranks);
  if (action == "train") return train_until_stopped(ranks, stop);
  if (action == "stubborn") hang();  // SIGTERM only sets the flag
  return 99;
}

}  // namespace

int run_scripted_rank(int count, char** arguments) {
  const auto ranks = ranks_from_environment();
  if (!ranks || ranks->rank + 1 >= count) return 98;
  install_crash_handler(*ranks);
  return act(arguments[1 + ranks->rank], *ranks, install_stop_handler());
}

}  // namespace esp::test
