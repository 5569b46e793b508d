#include "runtime/comm/stall_meter.hpp"

#include <algorithm>

namespace esp::runtime {
namespace {

// Sorted, without overlaps.
std::vector<Interval> merged(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::vector<Interval> apart;
  for (const Interval& next : intervals) {
    if (apart.empty() || next.begin > apart.back().end) {
      apart.push_back(next);
    } else {
      apart.back().end = std::max(apart.back().end, next.end);
    }
  }
  return apart;
}

}  // namespace

double overlap(std::vector<Interval> a, std::vector<Interval> b) {
  a = merged(std::move(a));
  b = merged(std::move(b));
  double sum = 0;
  for (auto at = a.begin(), bt = b.begin(); at != a.end() && bt != b.end();) {
    sum += std::max(0.0, std::min(at->end, bt->end) - std::max(at->begin, bt->begin));
    (at->end < bt->end ? at : bt)++;
  }
  return sum;
}

double exposed_seconds(const StallMeter::Spans& spans) {
  std::vector<Interval> stalls, collectives;
  for (const StallMeter::Span& span : spans) {
    const Interval interval{span.begin->seconds(), span.end->seconds()};
    if (span.stalls) stalls.push_back(interval);
    if (span.communicates) collectives.push_back(interval);
  }
  return overlap(std::move(stalls), std::move(collectives));
}

}  // namespace esp::runtime
