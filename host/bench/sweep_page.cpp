#include "bench/sweep_page.hpp"

#include <algorithm>
#include <cmath>

#include "bench/tables.hpp"
#include "report/durable_file.hpp"
#include "report/html.hpp"
#include "report/number_text.hpp"
#include "report/plot.hpp"

namespace esp::bench {
namespace {

template <class MakeBar>
std::string bars(const SweepResult& result, const std::string& title, MakeBar make) {
  std::vector<Bar> all;
  for (const Row& row : result.rows) {
    if (row.done()) all.push_back(make(row));
  }
  return bar_plot(title, all);
}

std::string rate_plot(const SweepResult& result) {
  const std::string title = "samples/s, more is better";
  return bars(result, result.repeats > 1 ? title + " (line: slowest to fastest run)" : title, [](const Row& row) {
    Bar bar{row.label, row.samples_per_second(), fixed(row.samples_per_second(), 1)};
    if (row.runs.size() < 2) return bar;
    bar.low = bar.high = row.runs.front().samples_per_second;
    for (const RunMeasure& run : row.runs) {
      bar.low = std::min(bar.low, run.samples_per_second);
      bar.high = std::max(bar.high, run.samples_per_second);
    }
    return bar;
  });
}

std::string step_plot(const SweepResult& result) {
  return bars(result, "step time in ms, less is better (bar: median, line: p5 to p95)", [](const Row& row) {
    return Bar{row.label, row.median(), fixed(row.median(), 2), row.p5(), row.p95()};
  });
}

std::string memory_plot(const SweepResult& result) {
  return bars(result, "peak allocated memory, less is better", [](const Row& row) {
    const double bytes = row.peak_allocated_bytes;
    return Bar{row.label, bytes, std::isfinite(bytes) ? rounded_bytes_text(static_cast<uint64_t>(bytes)) : ""};
  });
}

std::string exposed_plot(const SweepResult& result) {
  const auto told = [](const Row& row) { return row.world_size > 1 && std::isfinite(row.exposed_ms()); };
  if (std::none_of(result.rows.begin(), result.rows.end(), told)) return "";
  return bars(result, "exposed communication in ms a step, less is better", [](const Row& row) {
    return Bar{row.label, row.exposed_ms(), std::isfinite(row.exposed_ms()) ? fixed(row.exposed_ms(), 2) : "n/a"};
  });
}

std::string frontier_plot(const SweepResult& result) {
  std::vector<Point> points;
  for (const Row& row : result.rows) {
    if (row.done()) points.push_back({row.peak_allocated_bytes / (1 << 20), row.samples_per_second(), row.label});
  }
  return point_plot("speed against memory: best is at the top left", "peak allocated, MiB", "samples/s", points);
}

}  // namespace

std::string sweep_page(const SweepResult& result, double budget) {
  const Cells cells = table_cells(result);
  std::vector<std::vector<std::string>> environment{{"protocol", result.protocol},
                                                    {"runs of a case", std::to_string(result.repeats)}};
  for (const auto& [name, value] : result.environment) environment.push_back({name, value});
  return html_page("Sweep " + result.name,
                   rate_plot(result) + frontier_plot(result) + step_plot(result) + memory_plot(result) +
                       exposed_plot(result) + "<h2>Rows</h2>\n" + html_table(cells.titles, cells.rows) +
                       "<h2>What the numbers mean</h2>\n" + html_list(meanings(result)) + "<h2>Environment</h2>\n" +
                       html_table({}, environment) + "<h2>In short</h2>\n" + html_list(winner_lines(result, budget)));
}

void write_report(const std::filesystem::path& folder, const SweepResult& result, double budget) {
  write_whole_file(folder / "table.md", table_markdown(result, budget));
  write_whole_file(folder / "table.csv", table_csv(result));
  write_whole_file(folder / "report.html", sweep_page(result, budget));
}

}  // namespace esp::bench
