// host report: the pages of a sweep or of a run, from what is in its folder.
#include <filesystem>
#include <ostream>

#include "bench/sweep_page.hpp"
#include "bench/tables.hpp"
#include "cli/commands.hpp"
#include "error.hpp"
#include "report/run_page.hpp"

namespace esp::cli {

int report(const CommandLine& line, std::ostream& out) {
  const std::filesystem::path folder = line.names.front();
  if (bench::holds_sweep(folder)) {
    const bench::SweepResult result = bench::read_result(folder);
    bench::write_report(folder, result, static_cast<double>(line.budget));
    bench::print_table(out, result);
    for (const std::string& winner : bench::winner_lines(result, static_cast<double>(line.budget))) {
      out << winner << "\n";
    }
  } else if (holds_run(folder)) {
    write_run_page(folder);
  } else {
    throw Error(ExitCode::kUsage, folder.string() +
                                      " holds neither a sweep (sweep.json, rows.jsonl) nor a finished run "
                                      "(results.json, metrics.jsonl)");
  }
  out << "written to " << (folder / "report.html").string() << "\n";
  return 0;
}

}  // namespace esp::cli
