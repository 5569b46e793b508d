#include "report/run_reporter.hpp"

#include <optional>
#include <sstream>
#include <vector>

#include "report/console.hpp"
#include "report/durable_file.hpp"
#include "report/epoch_table.hpp"
#include "report/evaluation_table.hpp"
#include "report/event_file.hpp"
#include "report/json_text.hpp"
#include "report/metrics_log.hpp"
#include "report/number_text.hpp"
#include "report/progress_bar.hpp"
#include "report/results.hpp"
#include "report/run_page.hpp"

namespace esp {
namespace {

using namespace runtime;

const char* level_name(uint32_t level) {
  switch (level) {
    case ESP_LOG_DEBUG:
      return "debug";
    case ESP_LOG_INFO:
      return "info";
    case ESP_LOG_WARNING:
      return "warning";
    case ESP_LOG_ERROR:
      return "error";
    case ESP_LOG_HOST_MISBEHAVES:
      return "host misbehaves";
    default:
      return "plugin misbehaves";
  }
}

// The files of a run: made with the first line for them, so that a run that fails before its first step leaves none.
class RunFiles {
 public:
  explicit RunFiles(const std::filesystem::path& folder) : folder_(folder) {}

  void step(const StepReport& report) {
    open();
    metrics_->append(step_line(report));
    events_->scalar(report.step, "train/loss", report.loss);
    events_->scalar(report.step, "train/lr", report.lr);
    events_->scalar(report.step, "train/grad_norm", report.grad_norm);
    events_->scalar(report.step, "perf/samples_per_second", samples_per_second(report));
    events_->scalar(report.step, "perf/step_ms", report.step_ms);
  }
  void evaluation(const Evaluation& evaluation, int64_t step, double epoch) {
    open();
    metrics_->append(evaluation_line(evaluation, step, epoch));
    events_->scalar(step, "eval/loss", evaluation.loss);
    events_->scalar(step, "eval/accuracy", accuracy(evaluation));
    events_->flush();
  }
  void finish(const RunSummary& summary) {
    write_whole_file(folder_ / "results.json", results_json(summary));
    if (events_) events_->flush();
    if (metrics_) write_run_page(folder_);
  }

 private:
  void open() {
    if (metrics_) return;
    metrics_.emplace(folder_ / "metrics.jsonl");
    events_.emplace(folder_);
  }

  std::filesystem::path folder_;
  std::optional<RecordFile> metrics_;
  std::optional<EventFile> events_;
};

class RunReporter : public Observer {
 public:
  explicit RunReporter(const ReporterOptions& options) : options_(options), progress_(console_) {
    if (options.rank == 0 && !options.folder.empty()) files_.emplace(options.folder);
    options_.progress = options.progress && options.rank == 0 && options.verbosity <= ESP_LOG_INFO;
  }
  ~RunReporter() override { progress_.clear(); }

  void started(const StartReport& report) override {
    start_ = report;
    if (options_.rank != 0) return;
    progress_.start(report);
    if (options_.verbosity > ESP_LOG_INFO) return;
    for (const std::string& note : report.notes) console_.err("note: " + note + "\n");
  }

  void stepped(const StepReport& report) override {
    if (options_.rank != 0) return;
    last_epoch_ = report.epoch;
    step_ms_.push_back(report.step_ms);
    if (files_) files_->step(report);
    if (options_.progress) progress_.step(report);
  }

  void evaluating(const std::string& split, uint64_t done, uint64_t total) override {
    if (options_.progress) progress_.evaluation(split, done, total);
  }

  void evaluated(int64_t step, const Evaluation& evaluation) override {
    if (options_.rank != 0) return;
    if (files_) files_->evaluation(evaluation, step, last_epoch_);
    console_.err("step " + std::to_string(step) + ": " + evaluation.split + " loss " + fixed(evaluation.loss, 4) +
                 ", accuracy " + share_text(evaluation.correct, evaluation.samples) + "\n");
  }

  void epoch_ended(const EpochReport& report) override {
    if (options_.rank != 0) return;
    if (files_ && report.evaluation) files_->evaluation(*report.evaluation, report.step, last_epoch_);
    console_.out(epochs_.next(report));
  }

  void finished(const FinishReport& report) override {
    if (options_.rank != 0) return;
    progress_.clear();
    const RunSummary summary{options_, start_, report, summarise_steps(step_ms_), last_epoch_};
    if (files_) files_->finish(summary);
    std::ostringstream text;
    if (report.steps > 0) {
      print_summary(text, summary);
    } else if (report.evaluation) {
      print_evaluation(text, start_, *report.evaluation);
    }
    console_.out(text.str());
  }

  void log(uint32_t level, const std::string& component, const std::string& text) override {
    // What all ranks alike have to say is said by rank 0; warnings may differ.
    const bool repeated = options_.rank != 0 && level == ESP_LOG_INFO && options_.verbosity > ESP_LOG_DEBUG;
    if (level < options_.verbosity || repeated) return;
    std::string head = level_name(level);
    if (console_.has_colour() && level >= ESP_LOG_WARNING) {
      head = (level == ESP_LOG_WARNING ? "\033[33m" : "\033[31m") + head + "\033[0m";
    }
    if (options_.rank != 0) head = "rank " + std::to_string(options_.rank) + " " + head;
    console_.err(head + ": " + (component.empty() ? "" : component + ": ") + text + "\n");
  }

 private:
  ReporterOptions options_;
  Console console_;
  ProgressBar progress_;
  EpochTable epochs_;
  std::optional<RunFiles> files_;
  StartReport start_;
  std::vector<double> step_ms_;
  double last_epoch_ = 0;
};

}  // namespace

std::unique_ptr<Observer> make_run_reporter(const ReporterOptions& options) {
  return std::make_unique<RunReporter>(options);
}

}  // namespace esp
