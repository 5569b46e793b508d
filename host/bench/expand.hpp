// From a sweep file to its cases.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bench/bench_options.hpp"
#include "config/sweep_document.hpp"

namespace esp::bench {

using SweptValues = std::vector<std::pair<std::string, std::string>>;  // key and value, in the order of the file

// One row to be: the host with settings, or another program.
struct SweepCase {
  SweptValues swept;
  Settings settings;                 // of the host; with what bench.* asks for
  std::string name;                  // of an external program; empty: the host
  std::vector<std::string> command;  // of it, placeholders filled in

  bool external() const { return !name.empty(); }
  std::string label() const;  // "libzero.so, batch_size 8"
};

// The cases in their order: those of [[sweep.case]], each crossed with the arrays, the last array fastest; then the
// external programs, each crossed with the arrays that its command names in braces: {train.batch_size}.
// `flags` win over the file; a flag for a key that the file sweeps is refused. So is what no sweep may vary, and every
// mistake that can be found without loading a library. Throws Error(kUsage).
std::vector<SweepCase> expand(const SweepDocument& document, const Settings& flags, const BenchOptions& options);

}  // namespace esp::bench
