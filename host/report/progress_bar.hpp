// How far a run is: one line that is redrawn on a terminal, a plain line every few seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "report/console.hpp"
#include "runtime/api.hpp"

namespace esp {

// "[#####.....]" of `width` characters in all; filled by done/total.
std::string bar_text(double share, size_t width, bool unicode);

class ProgressBar {
 public:
  explicit ProgressBar(Console& console) : console_(console) {}

  void start(const runtime::StartReport& report);
  void step(const runtime::StepReport& report);
  void evaluation(const std::string& split, uint64_t done, uint64_t total);
  void clear() { console_.clear_bar(); }

 private:
  using Clock = std::chrono::steady_clock;
  bool due(bool last);
  void show(double share, const std::string& left, const std::string& right);

  Console& console_;
  int64_t epochs_ = 0, total_steps_ = 0;
  std::optional<Clock::time_point> shown_;
  double step_seconds_ = 0;  // smoothed
};

}  // namespace esp
