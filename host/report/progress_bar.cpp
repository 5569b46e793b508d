#include "report/progress_bar.hpp"

#include <algorithm>
#include <cmath>

#include "report/metrics_log.hpp"
#include "report/number_text.hpp"
#include "report/table.hpp"

namespace esp {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kPlainLine = std::chrono::seconds(10);

}  // namespace

std::string bar_text(double share, size_t width, bool unicode) {
  if (width < 3) return "";
  const size_t cells = width - 2;
  const auto filled = static_cast<size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(cells) + 1e-9);
  std::string text = "[";
  for (size_t i = 0; i < cells; ++i) text += unicode ? (i < filled ? "█" : "░") : (i < filled ? "#" : ".");
  return text + "]";
}

void ProgressBar::start(const runtime::StartReport& report) {
  epochs_ = report.epochs;
  total_steps_ = report.total_steps;
}

bool ProgressBar::due(bool last) {
  const auto now = Clock::now();
  const auto pause = console_.has_bar() ? Clock::duration(kRedraw) : Clock::duration(kPlainLine);
  if (shown_ && now - *shown_ < pause && !(last && console_.has_bar())) return false;
  shown_ = now;
  return true;
}

void ProgressBar::step(const runtime::StepReport& report) {
  const double seconds = report.step_ms / 1000;
  step_seconds_ = step_seconds_ > 0 ? 0.9 * step_seconds_ + 0.1 * seconds : seconds;
  if (!due(report.step == total_steps_)) return;
  const int64_t left = std::max<int64_t>(total_steps_ - report.step, 0);
  std::string head = "step " + std::to_string(report.step) + "/" + std::to_string(total_steps_);
  if (epochs_ > 0) head += "  epoch " + fixed(report.epoch, 2) + "/" + std::to_string(epochs_);
  const std::string facts = "loss " + fixed(report.loss, 4) + "  lr " + scientific(report.lr) + "  " +
                            fixed(samples_per_second(report), 1) + " samples/s  " +
                            clock_text(step_seconds_ * static_cast<double>(left)) + " left";
  show(total_steps_ > 0 ? static_cast<double>(report.step) / static_cast<double>(total_steps_) : 0, head, facts);
}

void ProgressBar::evaluation(const std::string& split, uint64_t done, uint64_t total) {
  if (!due(done == total)) return;
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  show(share, "evaluating " + split, std::to_string(done) + "/" + std::to_string(total) + " samples");
}

void ProgressBar::show(double share, const std::string& left, const std::string& right) {
  if (!console_.has_bar()) {
    console_.err(left + "  " + right + "\n");
    return;
  }
  const size_t texts = text_width(left) + text_width(right) + 4;
  const size_t width = console_.width() - 1;  // the last column would wrap the line on some terminals
  const size_t room = width > texts ? std::min<size_t>(width - texts, 30) : 0;
  std::string line = left + "  " + bar_text(share, room, locale_is_utf8()) + (room >= 3 ? "  " : "") + right;
  if (text_width(line) > width) line = (left + "  " + right).substr(0, width);
  console_.draw_bar(line);
}

}  // namespace esp
