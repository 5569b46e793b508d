#include "supervisor/stop_signal.hpp"

#include <unistd.h>

#include <ctime>

#include "error.hpp"
#include "supervisor/rank_link.hpp"

namespace esp {
namespace {

volatile std::sig_atomic_t stop_requested = 0;
volatile std::sig_atomic_t supervised = 0;
timespec first_request{};  // written before stop_requested, by a handler that no other stop signal interrupts

// A launcher that forwards a signal and a scheduler that sends it to every process mean one request.
constexpr double kSameRequestSeconds = 0.2;

void on_stop_signal(int signal) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (!stop_requested) {
    first_request = now;
    stop_requested = signal;
    return;
  }
  const double passed = static_cast<double>(now.tv_sec - first_request.tv_sec) +
                        1e-9 * static_cast<double>(now.tv_nsec - first_request.tv_nsec);
  if (!supervised && passed > kSameRequestSeconds) _exit(static_cast<int>(ExitCode::kInterrupted));
}

}  // namespace

const volatile std::sig_atomic_t* install_stop_handler() {
  supervised = is_supervised();
  std::signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&action.sa_mask, signal);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
  return &stop_requested;
}

}  // namespace esp
