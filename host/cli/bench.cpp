// host bench: decides every case of a sweep file, runs them one after the other, and writes tables and a page.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "bench/compare.hpp"
#include "bench/sweep_page.hpp"
#include "bench/sweep_runner.hpp"
#include "bench/tables.hpp"
#include "cli/commands.hpp"
#include "cli/run_setup.hpp"
#include "config/resolve.hpp"
#include "config/value_text.hpp"
#include "modules/libtorch.hpp"
#include "supervisor/ranks.hpp"

namespace esp::cli {
namespace {

namespace fs = std::filesystem;

// What -c says stands under the sweep file, what flags say above it.
Settings split_settings(const CommandLine& line, SweepDocument& document) {
  Settings flags;
  for (const auto& [key, setting] : line.settings) {
    if (setting.from_flag) {
      flags[key] = setting;
    } else {
      document.base.try_emplace(key, setting);
    }
  }
  return flags;
}

// Every key that varies, with a place where it does.
Settings swept_keys(const SweepDocument& document) {
  Settings keys;
  for (const Settings& together : document.cases) keys.insert(together.begin(), together.end());
  for (const SweepAxis& axis : document.axes) keys.emplace(axis.key, axis.values.front());
  return keys;
}

std::vector<std::string> key_order(const std::vector<bench::SweepCase>& cases) {
  std::vector<std::string> order;
  for (const bench::SweepCase& one : cases) {
    for (const auto& [key, value] : one.swept) {
      if (std::find(order.begin(), order.end(), key) == order.end()) order.push_back(key);
    }
  }
  return order;
}

// A library's option that its author did not mean to be varied is a mistake in the file.
void check_declared(const ComponentSetup& setup, const std::string& table, const Settings& swept) {
  for (const esp_option* option : setup.component->option_list) {
    const auto found = swept.find(table + "." + option->key);
    if (found == swept.end() || (option->flags & ESP_OPT_SWEEPABLE) != 0) continue;
    throw bench::SweepFault(found->second.place.text + ": " + found->first + " cannot be swept: " +
                            setup.module->path.filename().string() + " does not declare it sweepable");
  }
}

std::string resolve(const Settings& settings, const Settings& swept) {
  const RunSetup setup = set_up_run(settings, "", Probe::kChild);
  check_declared(setup.strategy, "strategy", swept);
  check_declared(setup.model, "model", swept);
  check_declared(setup.dataset, "data", swept);
  plan_batch(setup.config.train, setup.config.run.nproc);
  return setup.resolved_toml;
}

fs::path sweep_folder(const CommandLine& line) {
  const auto out = line.settings.find("run.out");
  const bool given = out != line.settings.end() && out->second.from_flag;
  const fs::path folder = fs::absolute(given ? fs::path(std::get<std::string>(out->second.value))
                                             : fs::path("out") / fs::path(line.names.front()).stem());
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    throw Error(ExitCode::kUsage, folder.string() + " is a file; choose another folder with --out");
  }
  const bool foreign =
      fs::is_directory(folder, error) && !fs::is_empty(folder, error) && !fs::is_directory(folder / "runs", error);
  if (foreign) {
    throw Error(ExitCode::kUsage, folder.string() + " is not empty and holds no sweep; choose another with --out");
  }
  fs::create_directories(folder / "runs", error);
  if (error) throw Error(ExitCode::kResource, folder.string() + " cannot be made: " + error.message());
  return folder;
}

std::string compiler() {
#ifdef __clang__
  return __VERSION__;
#else
  return "GCC " __VERSION__;
#endif
}

bench::Facts environment() {
  bench::Facts facts = bench::machine_facts();
  facts.emplace_back("host", "Espalier " ESPALIER_VERSION ", plugin ABI " + std::to_string(ESP_ABI_MAJOR) + "." +
                                 std::to_string(ESP_ABI_MINOR) + ", built by " + compiler());
  try {
    facts.emplace_back("LibTorch", find_libtorch().stamp());
  } catch (const Error&) {
    facts.emplace_back("LibTorch", "not found");
  }
  return facts;
}

std::string executable() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0) throw Error(ExitCode::kResource, "/proc/self/exe cannot be read: is /proc mounted?");
  return std::string(path, static_cast<size_t>(length));
}

// Everything that is decided before the first run starts.
struct Plan {
  bench::SweepJob job;
  std::vector<bench::SweepCase> cases;
  std::optional<bench::SweepResult> earlier;  // of bench.compare
};

Plan make_plan(const CommandLine& line) {
  SweepDocument document = read_sweep_file(line.names.front());
  const Settings flags = split_settings(line, document);
  Settings common = document.base;
  merge(common, flags);
  check_host_settings(common);
  Plan plan;
  plan.job.options = bench::read_bench_options(common);
  plan.cases = bench::expand(document, flags, plan.job.options);
  // Read now: it may be the folder that is written in the end.
  if (!plan.job.options.compare.empty()) plan.earlier = bench::load_measurements(plan.job.options.compare);
  plan.job.folder = sweep_folder(line);
  plan.job.host = executable();
  plan.job.retry = line.retry;
  plan.job.resolve = [swept = swept_keys(document)](const Settings& settings) { return resolve(settings, swept); };
  return plan;
}

}  // namespace

int bench(const CommandLine& line, std::ostream& out) {
  if (ranks_from_environment()) {
    throw Error(ExitCode::kUsage, "host bench starts the ranks of its cases itself; start it without a launcher");
  }
  const Plan plan = make_plan(line);
  const bench::SweepJob& job = plan.job;
  bench::SweepResult result{fs::path(line.names.front()).stem().string(),
                            bench::protocol_name(job.options.protocol),
                            job.options.repeats,
                            environment(),
                            key_order(plan.cases),
                            {}};
  bench::StopSignals signals;
  bench::SweepEnd end = bench::run_sweep(plan.cases, job, signals, std::cerr);
  result.rows = std::move(end.rows);
  if (end.runs_started == 0 && bench::holds_sweep(job.folder)) {
    result.environment = bench::read_result(job.folder).environment;  // of when it was measured
  }
  bench::write_result(job.folder, result);
  bench::write_report(job.folder, result, static_cast<double>(line.budget));
  bench::print_table(out, result);
  for (const std::string& winner : bench::winner_lines(result, static_cast<double>(line.budget))) out << winner << "\n";
  out << "written to " << (job.folder / "report.html").string() << "\n";
  if (end.interrupted) {
    throw Error(ExitCode::kInterrupted, "interrupted; the same command goes on with what is left");
  }
  if (!plan.earlier) return 0;
  const std::vector<bench::Comparison> rows = bench::compare(*plan.earlier, result);
  bench::print_comparison(out, rows);
  return bench::exit_code_of(rows);
}

}  // namespace esp::cli
