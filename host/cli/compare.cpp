// host compare: tells scripts by its exit code whether a result is slower than another.
#include "bench/compare.hpp"

#include "cli/commands.hpp"

namespace esp::cli {

int compare(const CommandLine& line, std::ostream& out) {
  const std::vector<bench::Comparison> rows =
      bench::compare(bench::load_measurements(line.names[0]), bench::load_measurements(line.names[1]));
  bench::print_comparison(out, rows);
  return bench::exit_code_of(rows);
}

}  // namespace esp::cli
