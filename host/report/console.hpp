// The two streams of a run on a terminal: lines scroll, the progress bar stays below them.
#pragma once

#include <mutex>
#include <string>

namespace esp {

// A line feed ends every line given. Output that fails (closed terminal, full log disk) is dropped: it must not end a
// run. [any thread]
class Console {
 public:
  Console();

  bool has_bar() const { return bar_; }  // stderr is a terminal that can redraw a line
  bool has_colour() const { return colour_; }
  size_t width() const;  // of the terminal

  void out(const std::string& lines);      // stdout
  void err(const std::string& lines);      // stderr
  void draw_bar(const std::string& line);  // replaces the bar
  void clear_bar();

 private:
  void erase();
  void redraw();

  const bool bar_, colour_;
  std::mutex mutex_;
  std::string line_;
};

}  // namespace esp
