// State of the process that loading a library must not change.
#pragma once

#include <array>
#include <string>

namespace esp {

// Floating-point modes of the calling thread, locale, signal handlers, working folder.
class ProcessState {
 public:
  static ProcessState now();

  // What differs in `later`, in words; empty when nothing does.
  std::string changes(const ProcessState& later) const;

 private:
  static constexpr int kSignals = 32;  // the classic ones, 1 to 31

  unsigned float_modes_ = 0;
  std::string locale_;
  std::string working_folder_;
  std::array<void*, kSignals> handlers_{};
};

}  // namespace esp
