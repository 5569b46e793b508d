#include "report/metrics_log.hpp"

#include <nlohmann/json.hpp>

#include "report/json_text.hpp"
#include "report/result_keys.hpp"

namespace esp {

double samples_per_second(const runtime::StepReport& report) {
  return report.step_ms > 0 ? 1000.0 * static_cast<double>(report.samples) / report.step_ms : 0.0;
}

std::string step_line(const runtime::StepReport& report) {
  const nlohmann::ordered_json line = {
      {"step", report.step},           {"epoch", report.epoch},
      {"loss", report.loss},           {"lr", report.lr},
      {"grad_norm", report.grad_norm}, {keys::kSamplesPerSecond, samples_per_second(report)},
      {keys::kStepMs, report.step_ms}, {"data_wait_ms", report.data_wait_ms},
      {"samples", report.samples},     {"loss_scale", report.loss_scale},
      {"skipped", report.skipped},
  };
  return json_text(line) + "\n";
}

std::string evaluation_line(const runtime::Evaluation& evaluation, int64_t step, double epoch) {
  const nlohmann::ordered_json line = {
      {"event", "eval"},
      {"step", step},
      {"epoch", epoch},
      {"split", evaluation.split},
      {"eval_loss", evaluation.loss},
      {"eval_accuracy", accuracy(evaluation)},
      {"eval_correct", evaluation.correct},
      {"eval_samples", evaluation.samples},
  };
  return json_text(line) + "\n";
}

}  // namespace esp
