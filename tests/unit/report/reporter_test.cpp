#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "report/metrics_log.hpp"
#include "report/run_reporter.hpp"
#include "scratch_folder.hpp"

namespace esp {
namespace {

using Json = nlohmann::json;

runtime::StepReport step(int64_t number) {
  runtime::StepReport report;
  report.step = number;
  report.epoch = static_cast<double>(number) / 4;
  report.loss = 1.0 / 3;
  report.lr = 5e-5;
  report.grad_norm = 2.5;
  report.samples = 32;
  report.step_ms = 100.0 + static_cast<double>(number);
  report.data_wait_ms = 0.25;
  return report;
}

runtime::StartReport start() {
  runtime::StartReport report;
  report.model_name = "vit-tiny";
  report.data_name = "synthetic leaves";
  report.precision = "fp32";
  report.world = 2;
  report.batch = {8, 2, 32};
  report.epochs = 2;
  report.total_steps = 8;
  report.n_params = 5'500'000;
  report.classes = {"a", "b"};
  return report;
}

runtime::FinishReport finish() {
  runtime::FinishReport report;
  report.steps = 8;
  report.train_loss = 0.5;
  report.train_seconds = 2;
  report.trained_samples = 256;
  report.evaluation = runtime::Evaluation{"validation", 0.25, 3, 4, {2, 1}, {2, 2}};
  report.memory.by_tag.both[ESP_TAG_PARAM] = 22'000'000;
  report.memory.by_tag.device[ESP_TAG_PARAM] = 20'000'000;
  report.memory.by_tag.pinned[ESP_TAG_PARAM] = 3'000'000;
  report.memory.predicted_by_tag = report.memory.by_tag;
  report.memory.predicted_by_tag->pinned[ESP_TAG_OPTIMIZER] = 4'000'000;
  report.memory.peak_allocated_bytes = 66'000'000;
  report.memory.peak_device_bytes = 99'000'000;
  report.model_flops_per_sample = 1e9;
  report.exposed_communication_ms = 0.75;
  report.energy = runtime::EnergyReport{100, 5, 160};
  return report;
}

class Reporter : public testing::Test {
 protected:
  Reporter() {
    options_.folder = folder_.path();
    options_.plugin = "libddp.so";
    options_.device = "cpu";
  }
  // A whole run; what it printed is returned.
  std::string report_a_run() {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const auto reporter = make_run_reporter(options_);
    reporter->started(start());
    for (int64_t i = 1; i <= 8; ++i) reporter->stepped(step(i));
    runtime::EpochReport epoch;
    epoch.epoch = 2;
    epoch.step = 8;
    epoch.evaluation = finish().evaluation;
    reporter->epoch_ended(epoch);
    reporter->finished(finish());
    testing::internal::GetCapturedStderr();
    return testing::internal::GetCapturedStdout();
  }
  Json results() const { return Json::parse(std::ifstream(folder_.path() / "results.json")); }

  const test::ScratchFolder folder_;
  ReporterOptions options_;
};

TEST(StepLine, IsOneObjectWithTheDocumentedKeys) {
  const std::string line = step_line(step(3));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const Json json = Json::parse(line);
  EXPECT_EQ(json["step"], 3);
  EXPECT_EQ(json["epoch"], 0.75);
  EXPECT_EQ(json["loss"].get<double>(), 1.0 / 3);  // to the last bit
  EXPECT_EQ(json["lr"], 5e-5);
  EXPECT_EQ(json["grad_norm"], 2.5);
  EXPECT_DOUBLE_EQ(json["samples_per_second"].get<double>(), 32 / 0.103);
  EXPECT_EQ(json["step_ms"], 103.0);
  EXPECT_EQ(json["data_wait_ms"], 0.25);
  EXPECT_EQ(json["loss_scale"], 1.0);
  EXPECT_EQ(json["skipped"], false);
}

TEST(StepLine, WritesNumbersThatAreNotFiniteAsNull) {
  auto report = step(1);
  report.loss = std::nan("");
  report.grad_norm = std::numeric_limits<double>::infinity();
  const Json json = Json::parse(step_line(report));
  EXPECT_TRUE(json["loss"].is_null());
  EXPECT_TRUE(json["grad_norm"].is_null());
}

TEST(EvaluationLine, IsMarkedAsOne) {
  const Json json = Json::parse(evaluation_line({"validation", 0.25, 3, 4, {}, {}}, 8, 2));
  EXPECT_EQ(json["event"], "eval");
  EXPECT_EQ(json["step"], 8);
  EXPECT_EQ(json["eval_loss"], 0.25);
  EXPECT_EQ(json["eval_accuracy"], 0.75);
  EXPECT_EQ(json["eval_correct"], 3);
  EXPECT_EQ(json["eval_samples"], 4);
}

TEST(EvaluationLine, OfNoSamplesHasNoAccuracy) {
  EXPECT_TRUE(Json::parse(evaluation_line({"validation", 0, 0, 0, {}, {}}, 8, 2))["eval_accuracy"].is_null());
}

TEST_F(Reporter, WritesALineForEveryStepAndEvaluation) {
  report_a_run();
  std::ifstream file(folder_.path() / "metrics.jsonl");
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  ASSERT_EQ(lines.size(), 9u);
  EXPECT_EQ(lines[0]["step"], 1);
  EXPECT_EQ(lines[7]["step"], 8);
  EXPECT_EQ(lines[8]["event"], "eval");
}

TEST_F(Reporter, WritesEveryDocumentedResult) {
  report_a_run();
  const Json json = results();
  EXPECT_EQ(json["plugin"], "libddp.so");
  EXPECT_EQ(json["model"], "vit-tiny");
  EXPECT_EQ(json["device"], "cpu");
  EXPECT_EQ(json["precision"], "fp32");
  EXPECT_EQ(json["batch_size"], 8);
  EXPECT_EQ(json["world_size"], 2);
  EXPECT_EQ(json["train_loss"], 0.5);
  EXPECT_EQ(json["train_runtime"], 2.0);
  EXPECT_EQ(json["train_samples_per_second"], 128.0);
  EXPECT_EQ(json["warmup_steps_left_out"], 2);
  EXPECT_EQ(json["step_ms_median"], 105.5);  // of 103 .. 108
  EXPECT_EQ(json["step_ms_p5"], 103.25);
  EXPECT_EQ(json["step_ms_p95"], 107.75);
  EXPECT_EQ(json["eval_loss"], 0.25);
  EXPECT_EQ(json["eval_accuracy"], 0.75);
  EXPECT_EQ(json["eval_correct"], 3);
  EXPECT_EQ(json["eval_samples"], 4);
  EXPECT_EQ(json["eval_classes"]["b"]["correct"], 1);
  EXPECT_EQ(json["peak_allocated_bytes"], 66'000'000);
  EXPECT_EQ(json["peak_device_bytes"], 99'000'000);
  EXPECT_EQ(json["memory_bytes"]["parameters"], 22'000'000);
  EXPECT_EQ(json["memory_bytes"]["activations"], 0);
  EXPECT_EQ(json["memory_bytes_device"]["parameters"], 20'000'000);
  EXPECT_EQ(json["memory_bytes_pinned"]["parameters"], 3'000'000);
  EXPECT_EQ(json["memory_bytes_pinned"]["optimizer"], 0);
  EXPECT_EQ(json["memory_bytes_pinned_predicted"]["optimizer"], 4'000'000);
  EXPECT_EQ(json["exposed_communication_ms"], 0.75);
  EXPECT_EQ(json["joules_per_step"], 20);
  EXPECT_EQ(json["joules_per_sample"], 0.625);
  ASSERT_TRUE(json.contains("mfu"));
  EXPECT_TRUE(json["mfu"].is_null());
}

TEST_F(Reporter, PrintsTheEpochsAndOneTableInTheEnd) {
  const std::string out = report_a_run();
  EXPECT_NE(out.find("train loss"), std::string::npos);
  EXPECT_NE(out.find("3/4 (75.0 %)"), std::string::npos);
  EXPECT_NE(out.find("32 = 8 x 2 x 2"), std::string::npos);
  EXPECT_NE(out.find("105.50 (p5 103.25, p95 107.75) without 2 warm-up steps"), std::string::npos) << out;
  for (const char* row : {"exposed communication, ms a step", "joules a sample", "peak parameters ",
                          "peak parameters, pinned", "peak optimizer, pinned"}) {
    EXPECT_NE(out.find(row), std::string::npos) << row << " in\n" << out;
  }
}

TEST_F(Reporter, OfOtherRanksWritesAndPrintsNothing) {
  options_.rank = 1;
  EXPECT_EQ(report_a_run(), "");
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(Reporter, MakesNoFilesBeforeTheFirstStep) {
  make_run_reporter(options_)->started(start());
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(Reporter, NamesTheFileWhenTheDiskIsFull) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4096, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  options_.progress = false;
  const auto reporter = make_run_reporter(options_);
  std::string message;
  try {
    for (int64_t i = 1; i <= 100; ++i) reporter->stepped(step(i));
  } catch (const Error& error) {
    if (error.code() == ExitCode::kResource) message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_NE(message.find((folder_.path() / "metrics.jsonl").string()), std::string::npos) << message;
}

TEST_F(Reporter, SurvivesAClosedStdout) {
  std::signal(SIGPIPE, SIG_IGN);
  std::fflush(stdout);
  const int kept = dup(STDOUT_FILENO);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  dup2(ends[1], STDOUT_FILENO);
  close(ends[1]);
  close(ends[0]);  // nobody reads
  options_.progress = false;
  const auto reporter = make_run_reporter(options_);
  reporter->started(start());
  reporter->stepped(step(1));
  reporter->epoch_ended({});
  reporter->finished(finish());
  dup2(kept, STDOUT_FILENO);
  close(kept);
  std::clearerr(stdout);
  EXPECT_EQ(results()["steps"], 8);
}

TEST_F(Reporter, LogsWhatTheVerbosityAsksFor) {
  options_.verbosity = ESP_LOG_WARNING;
  testing::internal::CaptureStderr();
  const auto reporter = make_run_reporter(options_);
  reporter->log(ESP_LOG_INFO, "libddp.so", "three buckets");
  reporter->log(ESP_LOG_WARNING, "libddp.so", "slow link");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: libddp.so: slow link\n");
}

TEST_F(Reporter, OfOtherRanksLogsWarningsWithTheRank) {
  options_.rank = 1;
  testing::internal::CaptureStderr();
  const auto reporter = make_run_reporter(options_);
  reporter->log(ESP_LOG_INFO, "", "said by rank 0 too");
  reporter->log(ESP_LOG_WARNING, "", "slow link");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "rank 1 warning: slow link\n");
}

}  // namespace
}  // namespace esp
