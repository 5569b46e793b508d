#include "runtime/services/late_streams.hpp"

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "error.hpp"

namespace esp::runtime {

void LateStreams::after_wait(Device& device, Stream& stream) const {
  if (by.count() == 0 || compute != (&stream == &device.compute())) return;
  device.enqueue(stream, [by = by] { std::this_thread::sleep_for(by); });
}

LateStreams late_streams_of_environment() {
  const char* value = std::getenv("ESPALIER_LATE_STREAMS");
  if (value == nullptr || *value == '\0') return {};
  const std::string_view text(value);
  const size_t colon = text.find(':');
  const std::string_view which = text.substr(0, colon);
  int milliseconds = 0;
  if (colon != std::string_view::npos && (which == "side" || which == "compute")) {
    const char* end = text.data() + text.size();
    const auto [rest, failed] = std::from_chars(text.data() + colon + 1, end, milliseconds);
    if (failed == std::errc() && rest == end && milliseconds > 0 && milliseconds <= 1000) {
      return {which == "compute", std::chrono::milliseconds(milliseconds)};
    }
  }
  throw Error(ExitCode::kUsage, "ESPALIER_LATE_STREAMS=" + std::string(text) +
                                    ": write side:MS or compute:MS with 1 to 1000 milliseconds");
}

}  // namespace esp::runtime
