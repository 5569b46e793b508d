// Two results side by side: is the second slower than the first?
#pragma once

#include <array>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "bench/rank_test.hpp"
#include "bench/ratio_interval.hpp"
#include "bench/sweep_result.hpp"

namespace esp::bench {

enum class Verdict {
  kFaster,
  kEqual,      // within noise
  kSlower,     // beyond noise
  kOtherWork,  // training losses differ: speed says nothing
  kLost        // was done in the first, has no numbers in the second
};

struct Comparison {
  std::string label;
  Interval ratio;  // step time of the second over the first
  RankTest test;
  bool one_run = false;  // on a side: the spread between runs is unknown
  // Of the first and of the second; NaN: not measured.
  std::array<double, 2> exposed_ms{kUnknown, kUnknown}, joules_per_sample{kUnknown, kUnknown};
  Verdict verdict = Verdict::kEqual;

  bool passes() const { return verdict == Verdict::kFaster || verdict == Verdict::kEqual; }
};

// Rows with the same label. Slower is a row whose interval lies above 1 (above 1.05 where a side has one run only, and
// with it no measure of what differs from run to run) with a rank test below 0.01. Throws Error(kUsage) when the two
// have no measured row in common, or another protocol.
std::vector<Comparison> compare(const SweepResult& first, const SweepResult& second);

// 0: every row passes; 1: one does not, which no error of the host has for its code.
int exit_code_of(const std::vector<Comparison>& rows);

void print_comparison(std::ostream& out, const std::vector<Comparison>& rows);

// The rows of a sweep's folder, or of one run's. Throws Error(kUsage) when it is neither, Error(kCheckpoint) when it is
// damaged.
SweepResult load_measurements(const std::filesystem::path& folder);

}  // namespace esp::bench
