// report.html of one run.
#pragma once

#include <filesystem>

namespace esp {

// Whether `folder` holds a finished run: results.json and metrics.jsonl.
bool holds_run(const std::filesystem::path& folder);

// Reads results.json and metrics.jsonl of the folder and writes report.html beside them: curves, step times, memory,
// numbers. Throws Error(kCheckpoint) when a file is damaged, Error(kResource) when the page cannot be written.
void write_run_page(const std::filesystem::path& folder);

}  // namespace esp
