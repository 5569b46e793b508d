// A model that is put through tests: with the options that were asked for, and what many of the tests do.
#pragma once

#include <memory>
#include <string>

#include "verify/model_world.hpp"
#include "verify/test_case.hpp"

namespace esp::verify {

struct ModelSubject {
  const ModuleComponent* component;
  VerifyOptions options;
  uint32_t precision = ESP_PRECISION_FP32;  // of tests that name none: the first on offer of fp32, bf16, fp16

  OptionSet values() const;        // of its options
  ModelScenario scenario() const;  // its seed and precision, the rest as usual
};

struct TrainResult {
  Gradients gradients;
  ModelMetrics metrics;
  bool operator==(const TrainResult&) const = default;
};

// One test of it. Functions throw Skip where the model refuses, or has failed: that is a finding then.
class ModelTrial {
 public:
  ModelTrial(const ModelSubject& subject, Findings& findings)
      : subject_(subject), findings_(findings), values_(subject.values()) {}
  ModelTrial(const ModelTrial&) = delete;

  ModelScenario scenario() const { return subject_.scenario(); }
  uint64_t seed() const { return subject_.options.seed; }
  std::unique_ptr<ModelWorld> world(const ModelScenario& scenario) const;
  std::unique_ptr<ModelWorld> started(const ModelScenario& scenario) const;  // ready to train
  std::unique_ptr<ModelWorld> started() const { return started(scenario()); }

  // One micro-batch, alone in a step, into poisoned gradients, all of which must be there then.
  TrainResult train_once(ModelWorld& model, uint64_t index = 0) const;
  TrainResult baseline(const ModelScenario& scenario) const;

  // One part in so many: what two orders of the same additions may differ by.
  double room() const;
  void compare(const ModelWorld& model, const char* rule, const std::string& when, const Gradients& got,
               const Gradients& expected, double room, double factor = 1) const;

 private:
  const ModelSubject& subject_;
  Findings& findings_;
  OptionSet values_;  // outlives the worlds
};

std::string number_text(double number);

}  // namespace esp::verify
