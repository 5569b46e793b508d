// From what a run left behind to numbers.
#pragma once

#include <filesystem>
#include <string>

#include "bench/bench_options.hpp"
#include "bench/row.hpp"

namespace esp::bench {

// Adds the run in `folder` (results.json, metrics.jsonl) to the row. Throws Error(kCheckpoint) when a file is missing
// or damaged.
void add_run(const std::filesystem::path& folder, int64_t repeat, const BenchOptions& options, Row& row);

// Adds what an external program wrote: the last line of `output` that is a JSON object with samples_per_second or
// step_ms_median. Empty, or why that cannot be used.
std::string add_external_run(const std::string& output, int64_t repeat, Row& row);

}  // namespace esp::bench
