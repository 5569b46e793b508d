// What a sweep leaves behind, and reads back: sweep.json and rows.jsonl.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bench/machine.hpp"
#include "bench/row.hpp"

namespace esp::bench {

struct SweepResult {
  std::string name;      // of the sweep file
  std::string protocol;  // as protocol_name()
  int64_t repeats = 1;
  Facts environment;
  std::vector<std::string> keys;  // swept, in the order of the file
  std::vector<Row> rows;
};

void write_result(const std::filesystem::path& folder, const SweepResult& result);

bool holds_sweep(const std::filesystem::path& folder);
// Throws Error(kCheckpoint) naming file and line.
SweepResult read_result(const std::filesystem::path& folder);

// The rows that a report ends with; NULL when there is none. Only rows that are done count.
struct Winners {
  const Row* fastest = nullptr;         // most samples/s
  const Row* smallest = nullptr;        // least peak_allocated_bytes
  const Row* fastest_within = nullptr;  // fastest with at most `budget` bytes; NULL also without a budget
};
Winners winners(const SweepResult& result, double budget);

}  // namespace esp::bench
