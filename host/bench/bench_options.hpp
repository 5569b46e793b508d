// The keys of [bench], typed.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "config/settings.hpp"

namespace esp::bench {

enum class Protocol { kHonest, kSeed };
const char* protocol_name(Protocol protocol);

struct BenchOptions {
  Protocol protocol = Protocol::kHonest;
  std::optional<int64_t> warmup;  // empty: detected
  int64_t steps = 30;             // timed, at least
  int64_t repeats = 1;
  std::chrono::milliseconds time_limit{3'600'000};  // of one run
  double peak_flops = 0;                            // per second, of a rank's device; 0: unknown
  std::string compare;                              // folder, or empty

  // Where warm-up is detected, so many steps may turn out to be warm-up.
  int64_t warmup_allowance() const;
  int64_t steps_to_run() const;
};

// The seed protocol fixes warm-up and steps; to give them too is an Error(kUsage), unless they come from a file and the
// protocol is a flag.
BenchOptions read_bench_options(const Settings& settings);

}  // namespace esp::bench
