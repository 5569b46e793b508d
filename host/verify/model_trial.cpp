#include "verify/model_trial.hpp"

#include <sstream>

#include "verify/element.hpp"
#include "verify/gradient_comparison.hpp"
#include "verify/settings.hpp"

namespace esp::verify {
namespace {

constexpr uint64_t kBatch = 7;  // seed of the inputs

}  // namespace

OptionSet ModelSubject::values() const { return option_values(*component, options.values); }

ModelScenario ModelSubject::scenario() const {
  ModelScenario scenario;
  scenario.seed = options.seed;
  scenario.precision = precision;
  return scenario;
}

std::unique_ptr<ModelWorld> ModelTrial::world(const ModelScenario& scenario) const {
  return std::make_unique<ModelWorld>(*subject_.component, values_, scenario, findings_);
}

std::unique_ptr<ModelWorld> ModelTrial::started(const ModelScenario& scenario) const {
  auto made = world(scenario);
  if (!made->start()) throw Skip{made->refusal.empty() ? "it did not start" : "refused: " + made->refusal};
  made->draw_inputs(kBatch);
  return made;
}

TrainResult ModelTrial::train_once(ModelWorld& model, uint64_t index) const {
  model.begin_step(index);
  model.poison_gradients();
  if (!model.train(0)) throw Skip{"a step failed"};
  if (const std::string missing = model.unwritten(); !missing.empty()) {
    findings_.add("MODEL-04", missing, {"backward_unit"});
    throw Skip{"gradients are missing"};
  }
  return {model.gradients(), model.take_metrics()};
}

TrainResult ModelTrial::baseline(const ModelScenario& scenario) const {
  const auto model = started(scenario);
  return train_once(*model);
}

double ModelTrial::room() const {
  return subject_.precision == ESP_PRECISION_FP32 ? 1e-4 : 8 * epsilon(compute_type(subject_.precision));
}

void ModelTrial::compare(const ModelWorld& model, const char* rule, const std::string& when, const Gradients& got,
                         const Gradients& expected, double room, double factor) const {
  const std::string difference = first_difference(model.desc(), got, expected, room, factor);
  if (!difference.empty()) findings_.add(rule, when + ", " + difference, {"backward_unit"});
}

std::string number_text(double number) {
  std::ostringstream text;
  text.precision(9);
  text << number;
  return text.str();
}

}  // namespace esp::verify
