// Exposed communication: how long the compute stream stood still while a collective was under way.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/device/device.hpp"

namespace esp::runtime {

// Off, it costs a branch. On, it sets marks of the device's clock around the waits of the compute stream and around
// every collective. A collective lasts from when its stream reaches it until it is done there, so waiting for other
// ranks is in it; the time of one that runs on the compute stream itself counts in full. [main]
class StallMeter {
 public:
  enum class Kind { kWait, kCollective };

  // Captured into a graph, marks are set anew at every launch: then the graph's owner keeps its spans.
  struct Span {
    std::shared_ptr<TimeMark> begin, end;
    bool stalls;  // compute stands still
    bool communicates;
  };
  using Spans = std::vector<Span>;

  explicit StallMeter(Device& device) : device_(device) {}

  void turn(bool on) { on_ = on; }

  // Calls body, which enqueues a wait or a collective on stream.
  template <class Body>
  void around(Stream& stream, Kind kind, Body&& body) {
    const bool on_compute = &stream == &device_.compute();
    if (!on_ || (kind == Kind::kWait && !on_compute)) return body();
    Span span{device_.mark(stream), nullptr, on_compute, kind == Kind::kCollective};
    body();
    span.end = device_.mark(stream);
    spans_.push_back(std::move(span));
  }

  // What was noted since it was taken last.
  Spans take() { return std::exchange(spans_, {}); }
  void add(const Spans& spans) { spans_.insert(spans_.end(), spans.begin(), spans.end()); }

 private:
  Device& device_;
  bool on_ = false;
  Spans spans_;
};

// How long two sets of intervals overlap, each counted once where its own overlap.
struct Interval {
  double begin, end;
};
double overlap(std::vector<Interval> a, std::vector<Interval> b);

// In seconds; blocks until the device has passed all marks.
double exposed_seconds(const StallMeter::Spans& spans);

}  // namespace esp::runtime
