// A sweep as tables.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "bench/sweep_result.hpp"

namespace esp::bench {

// Titles and cells of all columns that have something to say; "n/a" for what is unknown.
struct Cells {
  std::vector<std::string> titles;
  std::vector<std::vector<std::string>> rows;
};
Cells table_cells(const SweepResult& result);

void print_table(std::ostream& out, const SweepResult& result);  // the columns that fit a terminal
std::string table_markdown(const SweepResult& result, double budget);
std::string table_csv(const SweepResult& result);  // every number, unrounded; units are in the titles

// "fastest: libddp.so, batch_size 32 (153.7 samples/s)", one line each.
std::vector<std::string> winner_lines(const SweepResult& result, double budget);
// What the numbers mean, one sentence each.
std::vector<std::string> meanings(const SweepResult& result);

}  // namespace esp::bench
