// host export: a run's trained weights as a Hugging Face folder of its own, in a chosen dtype.
#include <filesystem>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/rank_job.hpp"
#include "cli/run_setup.hpp"
#include "config/settings.hpp"
#include "modules/runtime_library.hpp"
#include "supervisor/stop_signal.hpp"

namespace esp::cli {
namespace {

namespace fs = std::filesystem;

esp_dtype parse_dtype(const std::string& name) {
  if (name == "fp32") return ESP_F32;
  if (name == "bf16") return ESP_BF16;
  if (name == "fp16") return ESP_F16;
  throw Error(ExitCode::kUsage, "--dtype=" + name + ": fp32, bf16 or fp16 is expected");
}

// The run's own settings, with the model replaced by what it left behind.
Settings settings_of_run(const fs::path& run) {
  if (!fs::is_directory(run)) throw Error(ExitCode::kCheckpoint, run.string() + " is not a run folder");
  if (!fs::exists(run / "config.toml")) {
    throw Error(ExitCode::kCheckpoint, run.string() + " has no config.toml; give the folder that host run wrote");
  }
  if (!fs::exists(run / "model")) {
    throw Error(ExitCode::kCheckpoint,
                run.string() + " has no model/: the run did not finish, or ran with train.save = false");
  }
  Settings all = read_settings_file((run / "config.toml").string());
  Settings settings;
  for (const char* key : {"run.plugin", "run.strategy", "model.module", "data.module", "data.path"}) {
    if (all.contains(key)) settings[key] = all[key];
  }
  settings["model.weights"] = {fs::absolute(run / "model").string(), false, {"host export", "."}};
  return settings;
}

void require_free(const fs::path& folder) {
  if (fs::exists(folder) && !(fs::is_directory(folder) && fs::is_empty(folder))) {
    throw Error(ExitCode::kUsage, "--to=" + folder.string() + " exists already; give a new or an empty folder");
  }
}

}  // namespace

int export_model(const CommandLine& line) {
  if (line.names.size() != 1)
    throw Error(ExitCode::kUsage, "host export takes one run folder: host export out/run --to FOLDER");
  if (line.to.empty()) throw Error(ExitCode::kUsage, "host export needs --to FOLDER");
  const esp_dtype dtype = parse_dtype(line.dtype);
  require_free(line.to);
  const RunSetup setup = set_up_run(settings_of_run(line.names.front()), kEvaluationPlugin, Probe::kChild);
  runtime::Job job = make_job(runtime::Task::kExport, setup, {});
  job.model_folder = line.to;
  job.model_dtype = dtype;
  runtime::Observer silent;
  load_runtime().run(job, silent);
  std::cout << "wrote " << line.to << " (" << line.dtype << ")\n";
  return static_cast<int>(ExitCode::kOk);
}

}  // namespace esp::cli
