// Runs the cases of a sweep, each in processes of its own.
#pragma once

#include <filesystem>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "bench/bench_options.hpp"
#include "bench/child_process.hpp"
#include "bench/expand.hpp"
#include "bench/row.hpp"
#include "error.hpp"

namespace esp::bench {

// A mistake in the sweep file that only a loaded library shows: it ends the sweep before anything is started.
class SweepFault : public Error {
 public:
  explicit SweepFault(const std::string& message) : Error(ExitCode::kUsage, message) {}
};

struct SweepJob {
  std::filesystem::path folder;  // of the sweep; made when it is not there
  std::string host;              // the executable to run cases with
  BenchOptions options;
  bool retry = false;  // run again what did not end well
  // All settings of a case with their values, as a TOML file. An Error makes the row a refusal, nothing is
  // started for it; a SweepFault is passed on.
  std::function<std::string(const Settings&)> resolve;
};

struct SweepEnd {
  std::vector<Row> rows;  // in the order of the cases; without those that had no run when the user stopped
  size_t runs_started = 0;
  bool interrupted = false;
};

// Repeats are interleaved: every case once, then every case again. A run that an earlier call finished with the same
// settings is not repeated, nor is one that failed, without `retry`. `progress` gets a line per run.
SweepEnd run_sweep(const std::vector<SweepCase>& cases, const SweepJob& job, StopSignals& signals,
                   std::ostream& progress);

// Folder name of a case's runs: the same for equal settings, and for different ones another.
std::string case_id(const SweepCase& one, const std::string& settings);

}  // namespace esp::bench
