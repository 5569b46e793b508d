// Signals of this process as something poll() can wait for. Blocked in the calling thread while this lives; afterwards
// everything is as before.
#pragma once

#include <sys/signalfd.h>

#include <csignal>
#include <initializer_list>

#include "supervisor/unique_fd.hpp"

namespace esp {

class SignalQueue {
 public:
  explicit SignalQueue(std::initializer_list<int> signals) {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : signals) sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
    fd_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  SignalQueue(const SignalQueue&) = delete;
  ~SignalQueue() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  int fd() const { return fd_.get(); }

  // The next signal, or 0.
  int next() {
    signalfd_siginfo info{};
    return read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo)
                                                                                    : 0;
  }

 private:
  sigset_t before_{};
  UniqueFd fd_;
};

}  // namespace esp
