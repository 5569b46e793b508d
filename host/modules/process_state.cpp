#include "modules/process_state.hpp"

#include <signal.h>

#include <cfenv>
#include <clocale>
#include <cstring>
#include <filesystem>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace esp {
namespace {

#if defined(__SSE__)
constexpr unsigned kFlushBits = 0x8040;                   // flush-to-zero and denormals-are-zero
unsigned float_modes() { return _mm_getcsr() & ~0x3fu; }  // without the exception flags, which any arithmetic sets
#else
constexpr unsigned kFlushBits = 0;
unsigned float_modes() { return static_cast<unsigned>(std::fegetround()); }
#endif

void* handler_of(int signal) {
  struct sigaction action {};
  if (sigaction(signal, nullptr, &action) != 0) return nullptr;
  void* handler = nullptr;
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    std::memcpy(&handler, &action.sa_sigaction, sizeof handler);
  } else {
    std::memcpy(&handler, &action.sa_handler, sizeof handler);
  }
  return handler;
}

}  // namespace

ProcessState ProcessState::now() {
  ProcessState state;
  state.float_modes_ = float_modes();
  if (const char* locale = std::setlocale(LC_ALL, nullptr)) state.locale_ = locale;
  std::error_code ignored;
  state.working_folder_ = std::filesystem::current_path(ignored).string();
  for (int signal = 1; signal < kSignals; ++signal) state.handlers_[static_cast<size_t>(signal)] = handler_of(signal);
  return state;
}

std::string ProcessState::changes(const ProcessState& later) const {
  std::string text;
  const auto add = [&](const std::string& what) { text += (text.empty() ? "" : ", ") + what; };
  const unsigned modes = float_modes_ ^ later.float_modes_;
  if ((modes & kFlushBits) != 0) add("flush-to-zero is on (link without -ffast-math)");
  if ((modes & ~kFlushBits) != 0) add("rounding or floating-point traps");
  if (locale_ != later.locale_) add("the locale, now " + later.locale_);
  if (working_folder_ != later.working_folder_) add("the working folder, now " + later.working_folder_);
  for (int signal = 1; signal < kSignals; ++signal) {
    const auto i = static_cast<size_t>(signal);
    if (handlers_[i] != later.handlers_[i]) add("the handler of SIG" + std::string(sigabbrev_np(signal)));
  }
  return text;
}

}  // namespace esp
