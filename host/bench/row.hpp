// One row of a sweep: what was asked, how it ended, and every number that was measured.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "bench/expand.hpp"
#include "bench/ratio_interval.hpp"

namespace esp::bench {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

enum class RowStatus { kDone, kRefused, kOutOfMemory, kTimeLimit, kFailed };
const char* status_name(RowStatus status);

// One run of a case. Numbers that nobody measured are kUnknown.
struct RunMeasure {
  int64_t repeat = 0;           // from 1
  size_t warmup = 0;            // first steps, left out
  std::vector<double> step_ms;  // of the timed steps; empty when an external program told none
  double median = kUnknown, p5 = kUnknown, p95 = kUnknown;
  double samples_per_second = kUnknown;
  double samples = 0;  // all that were trained on, counted
  double train_loss = kUnknown;
  double exposed_ms = kUnknown;  // communication that computation waited for, a step
  double joules_per_step = kUnknown, joules_per_sample = kUnknown;
};

// Of one kind of collective, a step and rank.
struct Collective {
  double calls = 0, bytes = 0;
};

struct Row {
  std::string id;  // of the settings, and the name of the folder with the runs
  std::string label;
  SweptValues swept;
  bool external = false;
  RowStatus status = RowStatus::kDone;
  int exit_code = 0;
  std::string reason;  // one line, unless done
  std::vector<RunMeasure> runs;

  std::string plugin, model, device, device_name, precision;  // empty: unknown
  int64_t world_size = 0, batch_size = 0, global_batch_size = 0;
  double model_flops_per_second = 0;
  double mfu = kUnknown;
  double peak_allocated_bytes = kUnknown, peak_device_bytes = kUnknown;  // of the rank with most; worst run
  std::map<std::string, double> memory_bytes, memory_bytes_pinned;       // by tag; in both places, in host memory
  std::map<std::string, Collective> collectives;

  bool done() const { return status == RowStatus::kDone; }
  // Over the timed steps of all runs.
  double median() const;
  double p5() const;
  double p95() const;
  double samples_per_second() const;  // mean of the runs
  double exposed_ms() const;          // means of the runs
  double joules_per_step() const;
  double joules_per_sample() const;
  double rate_spread() const;  // (fastest - slowest run) / mean; kUnknown with one run
  Runs step_times() const;     // of the runs that have any
};

std::string to_json_line(const Row& row);  // with a line feed
// Throws Error(kCheckpoint) naming `place`.
Row row_from_json(const std::string& line, const std::string& place);

}  // namespace esp::bench
