#include "supervisor/crash_report.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>

#include "supervisor/rank_link.hpp"
#include "supervisor/signal_text.hpp"

namespace esp {
namespace {

using Line = FixedText<sizeof(RankReport::message)>;

// Everything a handler needs, found before it runs: a handler may not look things up.
struct CrashState {
  pid_t process = 0;
  int rank = 0;
  int world = 1;
  int report_fd = -1;
  char error_file[512] = {};  // torchrun's; empty = none
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
};
CrashState state;

alignas(16) char alternate_stack[64 * 1024];  // so that a stack that is used up can be reported

// Safe inside a JSON string and on one line.
void plain(char* text) {
  for (; *text; ++text) {
    if (static_cast<unsigned char>(*text) < 0x20 || *text == '"' || *text == '\\') *text = ' ';
  }
}

void put(int fd, const char* text, size_t length) {
  while (length > 0) {
    const ssize_t written = write(fd, text, length);
    if (written <= 0) return;
    text += written;
    length -= static_cast<size_t>(written);
  }
}

void write_error_file(const Line& line) {
  const int fd = open(state.error_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  FixedText<2600> json;
  json << "{\"message\":{\"message\":\"Error: " << line.c_str() << "\",\"extraInfo\":{\"py_callstack\":\""
       << line.c_str() << "\",\"timestamp\":\"" << static_cast<int>(time(nullptr)) << "\"}}}\n";
  put(fd, json.c_str(), json.size());
  close(fd);
}

// True when a launcher was told, so that this process need not print.
bool tell_launcher(const Line& line, int exit_code) {
  if (state.error_file[0]) write_error_file(line);
  if (state.report_fd < 0) return false;
  RankReport report;
  report.rank = state.rank;
  report.exit_code = exit_code;
  std::memcpy(report.message, line.c_str(), line.size());
  return send_report(state.report_fd, report);
}

void print(const Line& line) {
  FixedText<sizeof(RankReport)> text;
  text << "host: " << line.c_str() << "\n";
  put(STDERR_FILENO, text.c_str(), text.size());
}

void describe(Line& line, const char* what, const Phase& phase) {
  if (state.world > 1) line << "rank " << state.rank << " ";
  line << what;
  if (*phase.text) line << " in " << phase.text;
}

Phase phase_now() {
  Phase phase = phase_of_thread();
  plain(phase.text);
  return phase;
}

int exit_code_of(const Phase& phase) {
  return static_cast<int>(phase.in_plugin ? ExitCode::kPlugin : ExitCode::kInternal);
}

void on_crash(int signal) {
  // The handler is reset already: raise() now ends the process as if it had never been installed.
  if (getpid() != state.process || state.busy.test_and_set()) {
    raise(signal);
    return;
  }
  const Phase phase = phase_now();
  FixedText<64> what;
  what << "crashed with signal " << signal << " (" << signal_name(signal) << ")";
  Line line;
  describe(line, what.c_str(), phase);
  const bool told = tell_launcher(line, exit_code_of(phase));
  if (!told) print(line);
  if (!told && !state.error_file[0]) _exit(exit_code_of(phase));
  raise(signal);  // launchers learn the signal from the exit status
}

[[noreturn]] void on_terminate() {
  if (getpid() != state.process || state.busy.test_and_set()) std::abort();
  const Phase phase = phase_now();
  FixedText<600> what;
  what << "ended by an exception that nobody caught";
  try {
    if (std::current_exception()) std::rethrow_exception(std::current_exception());
  } catch (const std::exception& error) {
    what << " (" << one_line(error.what()).c_str() << ")";
  } catch (...) {
    what << " (of unknown type)";
  }
  Line line;
  describe(line, what.c_str(), phase);
  if (!tell_launcher(line, exit_code_of(phase))) print(line);
  _exit(exit_code_of(phase));
}

}  // namespace

void install_crash_handler(const runtime::RankFacts& ranks) {
  state.process = getpid();
  state.rank = ranks.rank;
  state.world = ranks.world;
  own_phase();  // found now: a handler may not look for it
  if (ranks.launcher == "supervisor") state.report_fd = number_from_environment(kReportFdVariable);
  const char* file = std::getenv("TORCHELASTIC_ERROR_FILE");
  if (ranks.launcher == "torchrun" && file && std::strlen(file) < sizeof state.error_file) {
    std::strcpy(state.error_file, file);
  }
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);

  stack_t stack{};
  stack.ss_sp = alternate_stack;
  stack.ss_size = sizeof alternate_stack;
  sigaltstack(&stack, nullptr);
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) {
    struct sigaction before {
    }, action{};
    sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_DFL) continue;  // a sanitizer's: it has more to say
    action.sa_handler = on_crash;
    action.sa_flags = SA_ONSTACK | SA_RESETHAND | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
  }
  std::set_terminate(on_terminate);
}

}  // namespace esp
