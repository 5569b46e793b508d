// host eval: scores weights on one split, without training and without a run folder.
#include <iostream>

#include "cli/commands.hpp"
#include "cli/rank_job.hpp"
#include "cli/run_setup.hpp"
#include "modules/runtime_library.hpp"
#include "report/evaluation_table.hpp"
#include "supervisor/ranks.hpp"

namespace esp::cli {
namespace {

// Prints the score on rank 0; the other ranks are silent.
class EvaluationPrinter : public runtime::Observer {
 public:
  void started(const runtime::StartReport& report) override { start_ = report; }
  void finished(const runtime::FinishReport& report) override {
    print_evaluation(std::cout, start_, report.evaluation.value());
  }

 private:
  runtime::StartReport start_;
};

void evaluate(const CommandLine& line, const runtime::RankFacts& ranks) {
  const RunSetup setup = set_up_run(line.settings, kEvaluationPlugin, probe_of(ranks));
  const runtime::Job job = make_job(runtime::Task::kEvaluate, setup, ranks);
  EvaluationPrinter printer;
  load_runtime().run(job, printer);
}

}  // namespace

int eval(const CommandLine& line) {
  if (const auto ranks = ranks_from_environment()) {
    return as_rank(*ranks, [&] { evaluate(line, *ranks); });
  }
  const RunSetup setup = set_up_run(line.settings, kEvaluationPlugin, Probe::kChild);
  return supervise(setup.config.run.nproc, line.arguments);
}

}  // namespace esp::cli
