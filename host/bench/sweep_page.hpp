// report.html of a sweep, and the other files that are made from its rows.
#pragma once

#include <filesystem>
#include <string>

#include "bench/sweep_result.hpp"

namespace esp::bench {

// One page with everything: plots, table, meanings, environment; it ends with the fastest, the smallest, and with a
// budget (bytes, 0: none) the fastest within it.
std::string sweep_page(const SweepResult& result, double budget);

// report.html, table.md and table.csv.
void write_report(const std::filesystem::path& folder, const SweepResult& result, double budget);

}  // namespace esp::bench
