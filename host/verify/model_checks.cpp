#include "verify/model_checks.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <sstream>

#include "verify/element.hpp"
#include "verify/gradient_comparison.hpp"
#include "verify/model_description.hpp"
#include "verify/settings.hpp"

namespace esp::verify {
namespace {

constexpr uint64_t kBatch = 7;  // seeds of inputs
constexpr uint64_t kOtherBatch = 8;

// A model with the options that were asked for, and what goes on around it.
struct Subject : ModelSubject {
  Subject(const ModelSubject& subject, Findings& where)
      : ModelSubject(subject), findings(where), values(option_values(*component, options.values)) {}

  ModelScenario scenario() const {
    ModelScenario scenario;
    scenario.seed = options.seed;
    scenario.precision = precision;
    return scenario;
  }
  std::unique_ptr<ModelWorld> world(const ModelScenario& scenario) const {
    return std::make_unique<ModelWorld>(*component, values, scenario, findings);
  }
  // Ready to train. Throws Skip where it refuses, or has failed: that is a finding then.
  std::unique_ptr<ModelWorld> started(const ModelScenario& scenario) const {
    auto made = world(scenario);
    if (!made->start()) throw Skip{made->refusal.empty() ? "it did not start" : "refused: " + made->refusal};
    made->draw_inputs(kBatch);
    return made;
  }
  std::unique_ptr<ModelWorld> started() const { return started(scenario()); }

  // One part in so many: what two orders of the same additions may differ by.
  double room() const { return precision == ESP_PRECISION_FP32 ? 1e-4 : 8 * epsilon(compute_type(precision)); }
  void compare(const ModelWorld& model, const char* rule, const std::string& when, const Gradients& got,
               const Gradients& expected, double room, double factor = 1) const {
    const std::string difference = first_difference(model.desc(), got, expected, room, factor);
    if (!difference.empty()) findings.add(rule, when + ", " + difference, {"backward_unit"});
  }

  Findings& findings;
  OptionSet values;
};

struct Result {
  Gradients gradients;
  ModelMetrics metrics;
  bool operator==(const Result&) const = default;
};

// One micro-batch, alone in a step, into poisoned gradients, all of which must be there then.
Result train_once(const Subject& subject, ModelWorld& model, uint64_t index = 0) {
  model.begin_step(index);
  model.poison_gradients();
  if (!model.train(0)) throw Skip{"a step failed"};
  if (const std::string missing = model.unwritten(); !missing.empty()) {
    subject.findings.add("MODEL-04", missing, {"backward_unit"});
    throw Skip{"gradients are missing"};
  }
  return {model.gradients(), model.take_metrics()};
}

Result baseline(const Subject& subject, const ModelScenario& scenario) {
  const auto model = subject.started(scenario);
  return train_once(subject, *model);
}

std::string text_of(double number) {
  std::ostringstream text;
  text.precision(9);
  text << number;
  return text.str();
}

bool near(double a, double b, double room) { return std::fabs(a - b) <= room * (1 + std::fabs(b)); }

}  // namespace

void describes_itself(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  const auto model = subject.world(subject.scenario());
  if (!model->create()) {
    if (!model->refusal.empty()) findings.add("OPT-02", "refused: " + model->refusal, {"create"});
    return;
  }
  check_description(model->desc(), findings);
}

void plans(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  const auto total = [&](uint32_t level, uint32_t rows) {
    ModelScenario scenario = subject.scenario();
    scenario.recompute = level;
    scenario.rows = scenario.eval_rows = rows;
    const auto model = subject.world(scenario);
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
  const auto levels = subject.world(subject.scenario());
  if (!levels->create()) throw Skip{"refused: " + levels->refusal};
  for (uint32_t level = 0; level < levels->desc().n_recompute; ++level) {
    if (total(level, 3) <= total(level, 6)) continue;
    findings.add("MODEL-02", "six rows take less memory than three", {"plan"});
  }
}

void trains(const ModelSubject& what, uint32_t precision, Findings& findings) {
  const Subject subject(what, findings);
  ModelScenario scenario = subject.scenario();
  scenario.precision = precision;
  const auto model = subject.started(scenario);
  for (uint64_t index = 0; index < 2; ++index) {
    const Result result = train_once(subject, *model, index);
    if (!std::isfinite(result.metrics.loss_sum) || result.metrics.correct > scenario.rows) {
      findings.add("MODEL-07",
                   "the loss of three samples is " + text_of(result.metrics.loss_sum) + ", " +
                       std::to_string(result.metrics.correct) + " are right",
                   {"loss"});
    }
  }
}

void computes_alike(const ModelSubject& what, uint32_t precision, Findings& findings) {
  constexpr double kLeastCosine = 0.95, kMostLoss = 0.05;
  const Subject subject(what, findings);
  ModelScenario scenario = subject.scenario();
  const Result full = baseline(subject, scenario);
  scenario.precision = precision;
  const auto model = subject.started(scenario);
  model->set_loss_seed(256);  // small gradients stay above the least half
  const Result half = train_once(subject, *model);
  const double alike = cosine(full.gradients, half.gradients);
  if (!(alike >= kLeastCosine)) {
    findings.add("MODEL-12", "its gradients point elsewhere than those of fp32: the cosine is " + text_of(alike),
                 {"backward_unit"});
  }
  if (!near(half.metrics.loss_sum, full.metrics.loss_sum, kMostLoss)) {
    findings.add("MODEL-12",
                 "the loss is " + text_of(half.metrics.loss_sum) + ", in fp32 " + text_of(full.metrics.loss_sum),
                 {"loss"});
  }
}

void heeds_write_modes(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  ModelScenario scenario = subject.scenario();
  scenario.n_micro = 2;
  const auto model = subject.started(scenario);
  const auto step = [&](uint64_t index, std::initializer_list<uint32_t> micros) {
    model->begin_step(index);
    for (const uint32_t micro : micros) {
      if (!model->train(micro)) throw Skip{"a step failed"};
    }
    return model->gradients();
  };
  const auto expect = [&](const std::string& when, const Gradients& got, const Gradients& expected) {
    subject.compare(*model, "MODEL-05", when, got, expected, subject.room());
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

void follows_binds(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  const Result expected = baseline(subject, subject.scenario());
  for (const bool in_forward : {false, true}) {
    const auto model = subject.started();
    model->begin_step(0);
    model->poison_gradients();
    const esp_model_desc& desc = model->desc();
    const auto move = [&](uint32_t unit, bool backward) {
      for (uint32_t i = 0; (backward || in_forward) && i < desc.units[unit]->n_uses; ++i) {
        model->move_parameter(desc.units[unit]->uses[i]);
      }
    };
    if (!model->train(0, move)) throw Skip{"a step failed"};
    subject.compare(
        *model, "MODEL-08",
        in_forward ? "with parameters moved before every unit" : "with parameters moved before each backward",
        model->gradients(), expected.gradients, 0);
    if (model->take_metrics().loss_sum != expected.metrics.loss_sum) {
      findings.add("MODEL-08", "with parameters moved, the loss is another one", {"loss"});
    }
  }
}

void evaluates(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  ModelScenario scenario = subject.scenario();
  scenario.eval_rows = 5;
  const auto model = subject.started(scenario);
  const ModelMetrics trained = train_once(subject, *model).metrics;
  const auto evaluate = [&](uint32_t valid) {
    model->set_valid(0, valid);
    if (!model->evaluate()) throw Skip{"an evaluation failed"};
    return model->take_metrics();
  };
  const ModelMetrics three = evaluate(3);
  if (!near(three.loss_sum, trained.loss_sum, subject.room()) || three.correct != trained.correct) {
    findings.add("MODEL-09",
                 "the loss is " + text_of(three.loss_sum) + " with " + std::to_string(three.correct) +
                     " right, in training " + text_of(trained.loss_sum) + " with " + std::to_string(trained.correct),
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
  const Result again = train_once(subject, *model, 1);
  if (again.metrics.loss_sum == 0) findings.add("MODEL-09", "no training step works behind an evaluation", {"loss"});
}

void infers(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  ModelMetrics metrics[2];
  for (const uint32_t mode : {ESP_MODE_TRAIN, ESP_MODE_INFER}) {
    ModelScenario scenario = subject.scenario();
    scenario.mode = mode;
    const auto model = subject.started(scenario);
    if (!model->evaluate()) throw Skip{"an evaluation failed"};
    metrics[mode == ESP_MODE_TRAIN ? 0 : 1] = model->take_metrics();
  }
  if (!near(metrics[1].loss_sum, metrics[0].loss_sum, subject.room())) {
    findings.add("MODEL-09",
                 "in ESP_MODE_INFER the loss is " + text_of(metrics[1].loss_sum) +
                     ", in an evaluation of ESP_MODE_TRAIN " + text_of(metrics[0].loss_sum),
                 {"loss"});
  }
}

void ignores_padding(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  const auto model = subject.started();
  model->set_valid(0, 2);
  const Result first = train_once(subject, *model, 0);
  model->draw_row(0, 2);
  const Result other = train_once(subject, *model, 1);
  subject.compare(*model, "MODEL-10", "with another padding row", other.gradients, first.gradients, 0);
  if (other.metrics != first.metrics) {
    findings.add("MODEL-10",
                 "with another padding row the loss is " + text_of(other.metrics.loss_sum) + ", was " +
                     text_of(first.metrics.loss_sum),
                 {"loss"});
  }
  model->set_valid(0, 0);
  const Result none = train_once(subject, *model, 2);
  Gradients zeros = none.gradients;
  for (auto& values : zeros) std::fill(values.begin(), values.end(), 0.0);
  subject.compare(*model, "MODEL-10", "without a valid row", none.gradients, zeros, 0);
  if (none.metrics != ModelMetrics()) findings.add("MODEL-10", "metrics count without a valid row", {"loss"});
}

void scales_by_the_seed(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  const auto model = subject.started();
  const Result one = train_once(subject, *model, 0);
  model->set_loss_seed(2);
  const Result two = train_once(subject, *model, 1);
  subject.compare(*model, "MODEL-11", "with twice the *loss_seed", two.gradients, one.gradients, subject.room(), 2);
  if (!near(two.metrics.loss_sum, one.metrics.loss_sum, subject.room())) {
    findings.add("MODEL-11", "*loss_sum is scaled, too", {"loss"});
  }
}

void heeds_passes(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  const auto model = subject.started();
  const Result first = train_once(subject, *model);
  model->begin_step(0, 1);
  if (!model->train(0)) throw Skip{"a step failed"};
  subject.compare(*model, "MODEL-05", "EACH_PASS: the second pass of a step", model->gradients(), first.gradients,
                  subject.room());
}

void recomputes(const ModelSubject& what, uint32_t level, Findings& findings) {
  const Subject subject(what, findings);
  ModelScenario scenario = subject.scenario();
  const Result expected = baseline(subject, scenario);
  scenario.recompute = level;
  const auto model = subject.started(scenario);
  const std::string when = std::string("at recompute level ") + model->desc().recompute[level];
  subject.compare(*model, "MODEL-13", when, train_once(subject, *model).gradients, expected.gradients, subject.room());
}

void freezes(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  ModelScenario scenario = subject.scenario();
  const Result all = baseline(subject, scenario);
  for (const bool only_the_last : {false, true}) {
    const auto described = subject.world(scenario);
    if (!described->create()) throw Skip{"refused: " + described->refusal};
    const esp_model_desc& desc = described->desc();
    ModelScenario frozen = scenario;
    frozen.trainable.assign(desc.n_params, 0);
    const esp_unit& last = *desc.units[desc.n_units - 1];
    for (uint32_t i = 0; i < desc.n_params; ++i) {
      const bool trained = only_the_last ? std::count(last.uses, last.uses + last.n_uses, i) > 0 : i % 2 == 1;
      frozen.trainable[i] = trained && (desc.params[i]->flags & ESP_PARAM_TRAINABLE) != 0 ? 1 : 0;
    }
    const auto model = subject.started(frozen);
    const Result some = train_once(subject, *model);
    subject.compare(*model, "MODEL-14",
                    only_the_last ? "with all but the last unit frozen" : "with every second parameter frozen",
                    some.gradients, all.gradients, subject.room());
  }
}

void repeats_itself(const ModelSubject& what, Findings& findings) {
  const Subject subject(what, findings);
  const Result one = baseline(subject, subject.scenario());
  const auto model = subject.started();
  const Result two = train_once(subject, *model);
  subject.compare(*model, "NUM-04", "in a second instance", two.gradients, one.gradients, 0);
  if (one.metrics != two.metrics) findings.add("NUM-04", "a second instance has another loss", {"loss"});
}

namespace {

// Along a parameter's gradient, on a random half of its elements, the loss must change by the sum of their squares.
// Where the model claims zero, the direction is random.
class Slope {
 public:
  Slope(const std::vector<double>& gradient, std::mt19937_64& random) : gradient_(gradient), direction_(gradient) {
    for (double& one : direction_) {
      if (direction_.size() > 1 && random() % 2 == 0) one = 0;
      squares_ += one * one;
    }
    if (squares_ == 0) {
      for (double& one : direction_) one = random() % 2 == 0 ? 1 : -1;
    }
    for (const double one : direction_) longest_ = std::max(longest_, std::fabs(one));
  }

  struct Changes {
    double found = 0, promised = 0;
  };
  // Of the loss, from one step back to one ahead; a step shall change the loss by `wished`.
  Changes changes(ModelWorld& model, uint32_t param, double wished) const {
    constexpr double kFarthest = 0.05;  // that an element is moved
    const double step = std::min(squares_ > 0 ? wished / squares_ : HUGE_VAL, kFarthest / longest_);
    Changes result;
    std::vector<double> before(direction_.size());
    for (size_t i = 0; i < before.size(); ++i) before[i] = model.value(param, i);
    for (const double side : {-1.0, 1.0}) {
      for (size_t i = 0; i < before.size(); ++i) {
        model.set_value(param, i, before[i] + side * step * direction_[i]);
        result.promised += side * gradient_[i] * (model.value(param, i) - before[i]);  // as it was rounded
      }
      if (!model.evaluate()) throw Skip{"an evaluation failed"};
      result.found += side * model.take_metrics().loss_sum;
    }
    for (size_t i = 0; i < before.size(); ++i) model.set_value(param, i, before[i]);
    return result;
  }

 private:
  const std::vector<double>& gradient_;
  std::vector<double> direction_;
  double squares_ = 0, longest_ = 0;
};

// Biases that begin as zeros put whole layers on the corner of a ReLU, where there is no derivative.
void leave_corners(ModelWorld& model, std::mt19937_64& random) {
  constexpr double kFar = 0.02;
  for (uint32_t param = 0; param < model.desc().n_params; ++param) {
    for (uint64_t i = 0; i < model.desc().params[param]->numel; ++i) {
      model.set_value(param, i, model.value(param, i) + kFar * (static_cast<double>(random() >> 11) * 0x1p-53 - 0.5));
    }
  }
}

// Empty: the loss changes along the parameter's gradient as that promises.
std::string misfit(ModelWorld& model, uint32_t param, const Result& at, std::mt19937_64& random) {
  constexpr double kRoom = 0.02;                 // of the change
  constexpr double kLossNoise = 4e-6;            // of two losses computed in fp32
  constexpr double kWished[] = {0.005, 0.0005};  // change of the loss, as a part of it
  const Slope slope(at.gradients[param], random);
  Slope::Changes changes;
  for (const double wished : kWished) {
    changes = slope.changes(model, param, wished * at.metrics.loss_sum);
    const double larger = std::max(std::fabs(changes.found), std::fabs(changes.promised));
    const double noise = kLossNoise * (1 + std::fabs(at.metrics.loss_sum));
    if (std::fabs(changes.found - changes.promised) <= kRoom * larger + noise) return "";
  }
  return " the loss changes by " + text_of(changes.found) + ", its gradient promises " + text_of(changes.promised);
}

}  // namespace

// A long step stands out of rounding and bends, a short one crosses fewer corners; and another point has other corners.
// A gradient that is wrong fits nowhere.
void differentiates(const ModelSubject& what, uint32_t unit, Findings& findings) {
  constexpr int kPoints = 4;
  const Subject subject(what, findings);
  ModelScenario scenario = subject.scenario();
  scenario.rows = scenario.eval_rows = 1;
  const auto model = subject.started(scenario);
  const esp_unit& part = *model->desc().units[unit];
  std::vector<uint32_t> open(part.uses, part.uses + part.n_uses);  // parameters that have not fitted yet
  std::mt19937_64 random(subject.options.seed + unit);
  std::string text;
  for (int point = 0; point < kPoints && !open.empty(); ++point) {
    leave_corners(*model, random);
    const Result at = train_once(subject, *model, static_cast<uint64_t>(point));
    const auto fits = [&](uint32_t param) {
      text = at.gradients[param].empty() ? "" : misfit(*model, param, at, random);
      return text.empty();
    };
    open.erase(std::remove_if(open.begin(), open.end(), fits), open.end());
  }
  if (open.empty()) return;
  findings.add("MODEL-15", std::string("along the gradient of ") + model->desc().params[open.back()]->name + text,
               {"backward_unit"});
}

}  // namespace esp::verify
