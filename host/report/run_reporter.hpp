// Turns what the runtime tells into what a run leaves behind: progress bar, metrics.jsonl, results.json, TensorBoard
// events, end table.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "config/run_config.hpp"
#include "runtime/api.hpp"

namespace esp {

struct ReporterOptions {
  std::filesystem::path folder;  // of the run; empty: write nothing (host eval)
  std::string plugin, model_module, device;
  uint32_t verbosity = ESP_LOG_INFO;
  int rank = 0;  // ranks other than 0 only log
  bool progress = true;
};

std::unique_ptr<runtime::Observer> make_run_reporter(const ReporterOptions& options);

}  // namespace esp
