#include "cli/in_child.hpp"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "error.hpp"
#include "supervisor/shared_file.hpp"

namespace esp::cli {
namespace {

// The first byte of what a child leaves; nothing at all when it died.
constexpr char kResult = 'r';
constexpr char kError = 'e';  // followed by the exit code as one byte

std::string error_text(ExitCode code, const std::string& message) {
  return std::string{kError, static_cast<char>(code)} + message;
}

[[noreturn]] void run_child(const std::function<std::string()>& body, unsigned limit_s, int result, int messages) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(messages, STDERR_FILENO);
  alarm(limit_s);
  std::string text;
  try {
    text = kResult + body();
  } catch (const Error& error) {
    text = error_text(error.code(), error.what());
  } catch (const std::exception& error) {
    text = error_text(ExitCode::kInternal, std::string("unexpected: ") + error.what());
  }
  write_all(result, text);
  _exit(0);
}

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  text = text.substr(text.rfind('\n') + 1);
  return text.starts_with("host: ") ? text.substr(6) : text;
}

std::string ending(int status, unsigned limit_s) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    return "no answer within " + std::to_string(limit_s) + " s";
  }
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  return "ended the process (exit code " + std::to_string(WEXITSTATUS(status)) + ")";
}

}  // namespace

std::string in_child(const std::function<std::string()>& body, unsigned limit_s, const std::string& hint) {
  const UniqueFd result = make_shared_file(), messages = make_shared_file();
  std::cout.flush();
  const pid_t child = fork();
  if (child < 0) throw Error(ExitCode::kResource, std::string("no child process: ") + strerror(errno));
  if (child == 0) run_child(body, limit_s, result.get(), messages.get());
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const std::string answer = read_whole(result.get());
  const std::string said = read_whole(messages.get());
  if (answer.empty()) {
    const std::string last = last_line(said);
    throw Error(ExitCode::kPlugin, (last.empty() ? ending(status, limit_s) : last) + "; " + hint);
  }
  std::cerr << said;
  if (answer.front() == kResult) return answer.substr(1);
  throw Error(static_cast<ExitCode>(static_cast<unsigned char>(answer.at(1))), answer.substr(2));
}

}  // namespace esp::cli
