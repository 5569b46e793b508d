// host run: the process that the user starts decides everything and supervises; each rank runs the same command line
// again.
#include <filesystem>
#include <optional>

#include "cli/commands.hpp"
#include "cli/rank_job.hpp"
#include "cli/run_setup.hpp"
#include "modules/runtime_library.hpp"
#include "report/run_folder.hpp"
#include "report/run_reporter.hpp"
#include "supervisor/ranks.hpp"

namespace esp::cli {
namespace {

uint32_t log_level(const std::string& verbosity) {
  if (verbosity == "debug") return ESP_LOG_DEBUG;
  if (verbosity == "warning") return ESP_LOG_WARNING;
  if (verbosity == "error") return ESP_LOG_ERROR;
  return ESP_LOG_INFO;
}

RunFolder make_folder(const RunSetup& setup) {
  return create_run_folder(setup.config.run.out, setup.strategy.component->component.id, setup.resolved_toml);
}

// Trains as one rank of a group; rank 0 writes into `folder`.
void train(const RunSetup& setup, const runtime::RankFacts& ranks, const std::filesystem::path& folder) {
  runtime::Job job = make_job(runtime::Task::kTrain, setup, ranks);
  if (setup.config.train.save) job.model_folder = (folder / "model").string();

  ReporterOptions report;
  if (ranks.rank == 0) report.folder = folder;
  report.plugin = job.strategy.library;
  report.model_module = job.model.library;
  report.device = device_name(setup.config.run.device);
  report.verbosity = log_level(setup.config.run.verbosity);
  report.rank = ranks.rank;
  const auto observer = make_run_reporter(report);
  load_runtime().run(job, *observer);
}

void run_rank(const CommandLine& line, const runtime::RankFacts& ranks) {
  const RunSetup setup = set_up_run(line.settings, "", probe_of(ranks));
  if (ranks.launcher == "supervisor") {
    train(setup, ranks, setup.config.run.out);
    return;
  }
  std::optional<RunFolder> folder;  // under a foreign launcher nobody made it
  if (ranks.rank == 0) folder.emplace(make_folder(setup));
  train(setup, ranks, folder ? folder->path() : std::filesystem::path());
  if (folder) folder->keep();
}

// The folder was made here; ranks are told which one it is.
std::vector<std::string> arguments_for_ranks(const CommandLine& line, const std::filesystem::path& folder) {
  std::vector<std::string> arguments;
  for (size_t i = 0; i < line.arguments.size(); ++i) {
    const std::string& argument = line.arguments[i];
    if (argument == "--out" || argument == "--run.out") {
      ++i;
    } else if (!argument.starts_with("--out=") && !argument.starts_with("--run.out=")) {
      arguments.push_back(argument);
    }
  }
  arguments.push_back("--run.out=" + folder.string());
  return arguments;
}

}  // namespace

int run(const CommandLine& line) {
  if (const auto ranks = ranks_from_environment()) {
    return as_rank(*ranks, [&] { run_rank(line, *ranks); });
  }
  const RunSetup setup = set_up_run(line.settings, "", Probe::kChild);
  plan_batch(setup.config.train, setup.config.run.nproc);
  RunFolder folder = make_folder(setup);
  const int code = supervise(setup.config.run.nproc, arguments_for_ranks(line, folder.path()));
  if (code == 0 || folder.has_metrics()) folder.keep();  // else nothing came of it, and the name is free again
  return code;
}

}  // namespace esp::cli
