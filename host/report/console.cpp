#include "report/console.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace esp {
namespace {

bool can_redraw() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) && terminal && std::string_view(terminal) != "dumb";
}

bool wants_colour() {
  const char* no_colour = std::getenv("NO_COLOR");
  return !no_colour || !*no_colour;
}

void put(FILE* stream, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

}  // namespace

Console::Console() : bar_(can_redraw()), colour_(bar_ && wants_colour()) {}

size_t Console::width() const {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void Console::erase() {
  if (!line_.empty()) put(stderr, "\r\033[K");
}

void Console::redraw() {
  if (!line_.empty()) put(stderr, line_);
}

void Console::out(const std::string& lines) {
  const std::lock_guard lock(mutex_);
  erase();
  put(stdout, lines);
  redraw();
}

void Console::err(const std::string& lines) {
  const std::lock_guard lock(mutex_);
  if (bar_) put(stderr, "\r\033[K");  // other ranks do not know of rank 0's bar
  put(stderr, lines);
  redraw();
}

void Console::draw_bar(const std::string& line) {
  const std::lock_guard lock(mutex_);
  line_ = line;
  put(stderr, "\r\033[K" + line);
}

void Console::clear_bar() {
  const std::lock_guard lock(mutex_);
  erase();
  line_.clear();
}

}  // namespace esp
