// A fault on purpose: streams that come late, so that a wait that is missing shows in the results.
#pragma once

#include <chrono>

#include "runtime/device/device.hpp"

namespace esp::runtime {

struct LateStreams {
  bool compute = false;             // the compute stream, else every other one
  std::chrono::milliseconds by{0};  // after every wait; 0: none is late

  // Called when `stream` was made to wait.
  void after_wait(Device& device, Stream& stream) const;
};

// Of the variable ESPALIER_LATE_STREAMS: "side:3" or "compute:3", in milliseconds. Throws Error(kUsage) when it is
// something else.
LateStreams late_streams_of_environment();

}  // namespace esp::runtime
