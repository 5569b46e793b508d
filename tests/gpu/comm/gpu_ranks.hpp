// Ranks on GPUs as child processes of a test, which itself never touches a GPU: a process that did must not fork.
#pragma once

#include <string>

#include "gpu_library.hpp"
#include "ranks.hpp"
#include "runtime/comm/rendezvous.hpp"

namespace esp::runtime::test {

// Why there are not so many GPUs here, or empty. Asks a child.
inline std::string missing_gpus(int wanted) {
  int answer[2];
  if (pipe(answer) != 0) return "no pipe";
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const std::string reason = gpus_missing_here(wanted);
    const bool said = reason.empty() || write(answer[1], reason.data(), reason.size()) > 0;
    _exit(said ? 0 : 1);
  }
  close(answer[1]);
  std::string reason(1024, '\0');
  const ssize_t got = read(answer[0], reason.data(), reason.size());
  reason.resize(got > 0 ? static_cast<size_t>(got) : 0);
  close(answer[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? reason : "asking for GPUs ended with status " + std::to_string(status);
}

}  // namespace esp::runtime::test
