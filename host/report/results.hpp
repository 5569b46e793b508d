// results.json and the table at the end of a run.
#pragma once

#include <optional>
#include <ostream>
#include <string>

#include "report/run_reporter.hpp"
#include "report/statistics.hpp"
#include "runtime/api.hpp"

namespace esp {

struct RunSummary {
  const ReporterOptions& options;
  const runtime::StartReport& start;
  const runtime::FinishReport& finish;
  std::optional<StepTimes> step_times;
  double epoch = 0;  // epochs done

  double train_samples_per_second() const;  // 0 when nothing was trained
};

// Names of ESP_TAG_ numbers in results and tables.
std::string memory_tag_name(unsigned tag);

// results.json: HF Trainer's names where it has them. Numbers that do not exist (no evaluation, peak FLOP/s unknown)
// are null.
std::string results_json(const RunSummary& summary);

void print_summary(std::ostream& out, const RunSummary& summary);

}  // namespace esp
