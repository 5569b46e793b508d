#include "cli/rank_job.hpp"

#include "supervisor/crash_report.hpp"
#include "supervisor/phase.hpp"
#include "supervisor/ranks.hpp"
#include "supervisor/stop_signal.hpp"

namespace esp::cli {

runtime::Job make_job(runtime::Task task, const RunSetup& setup, const runtime::RankFacts& ranks) {
  runtime::Job job;
  job.task = task;
  job.config = setup.config;
  job.ranks = ranks;
  job.strategy = setup.strategy.instance();
  job.model = setup.model.instance();
  job.dataset = setup.dataset.instance();
  install_crash_handler(ranks);
  job.stop = install_stop_handler();
  job.phases = {&name_phase, &current_phase};
  return job;
}

int as_rank(const runtime::RankFacts& ranks, const std::function<void()>& body) {
  try {
    body();
    set_phase("finished", false);  // a rank that ends in any other phase ended too early
    return static_cast<int>(ExitCode::kOk);
  } catch (const Error& error) {
    report_rank_error(ranks, static_cast<int>(error.code()), error.what());
    if (ranks.launcher != "supervisor") throw;
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    const Error internal(ExitCode::kInternal, std::string("unexpected: ") + error.what());
    report_rank_error(ranks, static_cast<int>(internal.code()), internal.what());
    if (ranks.launcher != "supervisor") throw internal;
    return static_cast<int>(internal.code());
  }
}

Probe probe_of(const runtime::RankFacts& ranks) {
  return ranks.launcher == "supervisor" ? Probe::kTrust : Probe::kChild;
}

}  // namespace esp::cli
