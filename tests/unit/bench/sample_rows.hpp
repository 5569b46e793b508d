// Rows as a sweep would have measured them.
#pragma once

#include <string>
#include <vector>

#include "bench/sweep_result.hpp"
#include "report/statistics.hpp"

namespace esp::bench::test {

// Step times around `ms`, a little different in each run.
inline RunMeasure run_of(int64_t repeat, double ms, size_t steps = 40) {
  RunMeasure run;
  run.repeat = repeat;
  run.warmup = 2;
  for (size_t i = 0; i < steps; ++i) run.step_ms.push_back(ms * (1 + 0.001 * static_cast<double>((i * 7 + 3) % 11)));
  run.median = quantile(run.step_ms, 0.5);
  run.p5 = quantile(run.step_ms, 0.05);
  run.p95 = quantile(run.step_ms, 0.95);
  run.samples_per_second = 8e3 / ms;
  run.samples = 336;
  run.train_loss = 1.0;
  return run;
}

inline Row row_of(const std::string& plugin, double ms, double bytes, int64_t runs = 2) {
  Row row;
  row.id = plugin;
  row.label = plugin;
  row.swept = {{"run.plugin", plugin}};
  row.plugin = plugin;
  row.device = "cpu";
  row.peak_allocated_bytes = bytes;
  row.memory_bytes = {{"parameters", bytes / 4}, {"other", 0}};
  row.memory_bytes_pinned = {{"optimizer", bytes / 8}, {"other", 0}};
  for (int64_t repeat = 1; repeat <= runs; ++repeat) {
    row.runs.push_back(run_of(repeat, ms * (1 + 0.0005 * static_cast<double>(repeat))));
  }
  return row;
}

inline Row refused_row(const std::string& plugin, const std::string& reason) {
  Row row;
  row.id = plugin;
  row.label = plugin;
  row.swept = {{"run.plugin", plugin}};
  row.status = RowStatus::kRefused;
  row.exit_code = 3;
  row.reason = reason;
  return row;
}

inline SweepResult result_of(std::vector<Row> rows) {
  return {"a sweep", "honest", 2, {{"cpu", "some CPU"}}, {"run.plugin"}, std::move(rows)};
}

}  // namespace esp::bench::test
