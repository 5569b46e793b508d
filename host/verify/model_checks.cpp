#include "verify/model_checks.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "verify/gradient_comparison.hpp"
#include "verify/model_description.hpp"

namespace esp::verify {
namespace {

bool near(double a, double b, double room) { return std::fabs(a - b) <= room * (1 + std::fabs(b)); }

}  // namespace

void describes_itself(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  const auto model = trial.world(trial.scenario());
  if (!model->create()) {
    if (!model->refusal.empty()) findings.add("OPT-02", "refused: " + model->refusal, {"create"});
    return;
  }
  check_description(model->desc(), findings);
}

void plans(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  const auto total = [&](uint32_t level, uint32_t rows) {
    ModelScenario scenario = trial.scenario();
    scenario.recompute = level;
    scenario.rows = scenario.eval_rows = rows;
    const auto model = trial.world(scenario);
    if (!model->create() || !model->plan()) throw Skip{"refused: " + model->refusal};
    const esp_model_need first = model->need();
    if (first.activation_bytes == nullptr) throw Skip{"activation_bytes is NULL"};
    const size_t n = size_t{model->desc().n_recompute} * model->desc().n_units;
    const std::vector<uint64_t> bytes(first.activation_bytes, first.activation_bytes + n);
    const uint64_t workspace = first.workspace_bytes;
    if (!model->plan()) return uint64_t{0};
    const esp_model_need& second = model->need();
    if (workspace != second.workspace_bytes || !std::equal(bytes.begin(), bytes.end(), second.activation_bytes)) {
      findings.add("MODEL-02", "a second call answers something else", {"plan"});
    }
    const auto row = bytes.begin() + static_cast<std::ptrdiff_t>(level * model->desc().n_units);
    return std::accumulate(row, row + model->desc().n_units, workspace);
  };
  const auto levels = trial.world(trial.scenario());
  if (!levels->create()) throw Skip{"refused: " + levels->refusal};
  for (uint32_t level = 0; level < levels->desc().n_recompute; ++level) {
    if (total(level, 3) <= total(level, 6)) continue;
    findings.add("MODEL-02", "six rows take less memory than three", {"plan"});
  }
}

void trains(const ModelSubject& subject, uint32_t precision, Findings& findings) {
  const ModelTrial trial(subject, findings);
  ModelScenario scenario = trial.scenario();
  scenario.precision = precision;
  const auto model = trial.started(scenario);
  for (uint64_t index = 0; index < 2; ++index) {
    const TrainResult result = trial.train_once(*model, index);
    if (!std::isfinite(result.metrics.loss_sum) || result.metrics.correct > scenario.rows) {
      findings.add("MODEL-07",
                   "the loss of three samples is " + number_text(result.metrics.loss_sum) + ", " +
                       std::to_string(result.metrics.correct) + " are right",
                   {"loss"});
    }
  }
}

void computes_alike(const ModelSubject& subject, uint32_t precision, Findings& findings) {
  constexpr double kLeastCosine = 0.95, kMostLoss = 0.05;
  const ModelTrial trial(subject, findings);
  ModelScenario scenario = trial.scenario();
  const TrainResult full = trial.baseline(scenario);
  scenario.precision = precision;
  const auto model = trial.started(scenario);
  model->set_loss_seed(256);  // small gradients stay above the least half
  const TrainResult half = trial.train_once(*model);
  const double alike = cosine(full.gradients, half.gradients);
  if (!(alike >= kLeastCosine)) {
    findings.add("MODEL-12", "its gradients point elsewhere than those of fp32: the cosine is " + number_text(alike),
                 {"backward_unit"});
  }
  if (!near(half.metrics.loss_sum, full.metrics.loss_sum, kMostLoss)) {
    findings.add(
        "MODEL-12",
        "the loss is " + number_text(half.metrics.loss_sum) + ", in fp32 " + number_text(full.metrics.loss_sum),
        {"loss"});
  }
}

void heeds_write_modes(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  ModelScenario scenario = trial.scenario();
  scenario.n_micro = 2;
  const auto model = trial.started(scenario);
  const auto step = [&](uint64_t index, std::initializer_list<uint32_t> micros) {
    model->begin_step(index);
    for (const uint32_t micro : micros) {
      if (!model->train(micro)) throw Skip{"a step failed"};
    }
    return model->gradients();
  };
  const auto expect = [&](const std::string& when, const Gradients& got, const Gradients& expected) {
    trial.compare(*model, "MODEL-05", when, got, expected, trial.room());
  };
  model->poison_gradients();
  const Gradients first = step(0, {0}), second = step(1, {1});
  const Gradients both = sum(first, second);
  expect("EACH_PASS: two micro-batches of a pass", step(2, {0, 1}), both);
  expect("EACH_PASS: the pass after it", step(3, {0, 1}), both);
  model->poison_gradients();
  model->bind_gradients(ESP_WRITE_NOW);
  expect("NOW: the first micro-batch behind a bind", step(4, {0}), first);
  expect("NOW: the next step without a bind", step(5, {1}), both);
  model->bind_gradients(ESP_WRITE_NOW);
  expect("NOW: behind another bind", step(6, {1}), second);
}

void follows_binds(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  const TrainResult expected = trial.baseline(trial.scenario());
  for (const bool in_forward : {false, true}) {
    const auto model = trial.started();
    model->begin_step(0);
    model->poison_gradients();
    const esp_model_desc& desc = model->desc();
    const auto move = [&](uint32_t unit, bool backward) {
      for (uint32_t i = 0; (backward || in_forward) && i < desc.units[unit]->n_uses; ++i) {
        model->move_parameter(desc.units[unit]->uses[i]);
      }
    };
    if (!model->train(0, move)) throw Skip{"a step failed"};
    trial.compare(*model, "MODEL-08",
                  in_forward ? "with parameters moved before every unit" : "with parameters moved before each backward",
                  model->gradients(), expected.gradients, 0);
    if (model->take_metrics().loss_sum != expected.metrics.loss_sum) {
      findings.add("MODEL-08", "with parameters moved, the loss is another one", {"loss"});
    }
  }
}

void evaluates(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  ModelScenario scenario = trial.scenario();
  scenario.eval_rows = 5;
  const auto model = trial.started(scenario);
  const ModelMetrics trained = trial.train_once(*model).metrics;
  const auto evaluate = [&](uint32_t valid) {
    model->set_valid(0, valid);
    if (!model->evaluate()) throw Skip{"an evaluation failed"};
    return model->take_metrics();
  };
  const ModelMetrics three = evaluate(3);
  if (!near(three.loss_sum, trained.loss_sum, trial.room()) || three.correct != trained.correct) {
    findings.add("MODEL-09",
                 "the loss is " + number_text(three.loss_sum) + " with " + std::to_string(three.correct) +
                     " right, in training " + number_text(trained.loss_sum) + " with " +
                     std::to_string(trained.correct),
                 {"loss"});
  }
  if (evaluate(3) != three) findings.add("MODEL-09", "a second evaluation gives other metrics", {"loss"});
  const ModelMetrics five = evaluate(5);
  uint64_t right = 0;
  for (uint32_t row = 0; row < 5; ++row) right += model->predicted(row) == model->label(0, row) ? 1 : 0;
  if (model->label(0, 0) >= 0 && right != five.correct) {
    findings.add("MODEL-09",
                 "*correct says " + std::to_string(five.correct) + " of 5, predicted and labels agree on " +
                     std::to_string(right),
                 {"loss"});
  }
  const TrainResult again = trial.train_once(*model, 1);
  if (again.metrics.loss_sum == 0) findings.add("MODEL-09", "no training step works behind an evaluation", {"loss"});
}

void infers(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  ModelMetrics metrics[2];
  for (const uint32_t mode : {ESP_MODE_TRAIN, ESP_MODE_INFER}) {
    ModelScenario scenario = trial.scenario();
    scenario.mode = mode;
    const auto model = trial.started(scenario);
    if (!model->evaluate()) throw Skip{"an evaluation failed"};
    metrics[mode == ESP_MODE_TRAIN ? 0 : 1] = model->take_metrics();
  }
  if (!near(metrics[1].loss_sum, metrics[0].loss_sum, trial.room())) {
    findings.add("MODEL-09",
                 "in ESP_MODE_INFER the loss is " + number_text(metrics[1].loss_sum) +
                     ", in an evaluation of ESP_MODE_TRAIN " + number_text(metrics[0].loss_sum),
                 {"loss"});
  }
}

void ignores_padding(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  const auto model = trial.started();
  model->set_valid(0, 2);
  const TrainResult first = trial.train_once(*model, 0);
  model->draw_row(0, 2);
  const TrainResult other = trial.train_once(*model, 1);
  trial.compare(*model, "MODEL-10", "with another padding row", other.gradients, first.gradients, 0);
  if (other.metrics != first.metrics) {
    findings.add("MODEL-10",
                 "with another padding row the loss is " + number_text(other.metrics.loss_sum) + ", was " +
                     number_text(first.metrics.loss_sum),
                 {"loss"});
  }
  model->set_valid(0, 0);
  const TrainResult none = trial.train_once(*model, 2);
  Gradients zeros = none.gradients;
  for (auto& values : zeros) std::fill(values.begin(), values.end(), 0.0);
  trial.compare(*model, "MODEL-10", "without a valid row", none.gradients, zeros, 0);
  if (none.metrics != ModelMetrics()) findings.add("MODEL-10", "metrics count without a valid row", {"loss"});
}

void scales_by_the_seed(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  const auto model = trial.started();
  const TrainResult one = trial.train_once(*model, 0);
  model->set_loss_seed(2);
  const TrainResult two = trial.train_once(*model, 1);
  trial.compare(*model, "MODEL-11", "with twice the *loss_seed", two.gradients, one.gradients, trial.room(), 2);
  if (!near(two.metrics.loss_sum, one.metrics.loss_sum, trial.room())) {
    findings.add("MODEL-11", "*loss_sum is scaled, too", {"loss"});
  }
}

void heeds_passes(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  const auto model = trial.started();
  const TrainResult first = trial.train_once(*model);
  model->begin_step(0, 1);
  if (!model->train(0)) throw Skip{"a step failed"};
  trial.compare(*model, "MODEL-05", "EACH_PASS: the second pass of a step", model->gradients(), first.gradients,
                trial.room());
}

void recomputes(const ModelSubject& subject, uint32_t level, Findings& findings) {
  const ModelTrial trial(subject, findings);
  ModelScenario scenario = trial.scenario();
  const TrainResult expected = trial.baseline(scenario);
  scenario.recompute = level;
  const auto model = trial.started(scenario);
  const std::string when = std::string("at recompute level ") + model->desc().recompute[level];
  trial.compare(*model, "MODEL-13", when, trial.train_once(*model).gradients, expected.gradients, trial.room());
}

void freezes(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  ModelScenario scenario = trial.scenario();
  const TrainResult all = trial.baseline(scenario);
  for (const bool only_the_last : {false, true}) {
    const auto described = trial.world(scenario);
    if (!described->create()) throw Skip{"refused: " + described->refusal};
    const esp_model_desc& desc = described->desc();
    ModelScenario frozen = scenario;
    frozen.trainable.assign(desc.n_params, 0);
    const esp_unit& last = *desc.units[desc.n_units - 1];
    for (uint32_t i = 0; i < desc.n_params; ++i) {
      const bool trained = only_the_last ? std::count(last.uses, last.uses + last.n_uses, i) > 0 : i % 2 == 1;
      frozen.trainable[i] = trained && (desc.params[i]->flags & ESP_PARAM_TRAINABLE) != 0 ? 1 : 0;
    }
    const auto model = trial.started(frozen);
    const TrainResult some = trial.train_once(*model);
    trial.compare(*model, "MODEL-14",
                  only_the_last ? "with all but the last unit frozen" : "with every second parameter frozen",
                  some.gradients, all.gradients, trial.room());
  }
}

void repeats_itself(const ModelSubject& subject, Findings& findings) {
  const ModelTrial trial(subject, findings);
  const TrainResult one = trial.baseline(trial.scenario());
  const auto model = trial.started();
  const TrainResult two = trial.train_once(*model);
  trial.compare(*model, "NUM-04", "in a second instance", two.gradients, one.gradients, 0);
  if (one.metrics != two.metrics) findings.add("NUM-04", "a second instance has another loss", {"loss"});
}

}  // namespace esp::verify
