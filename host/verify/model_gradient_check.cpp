// The gradient itself: differences of the loss beside what it promises.
#include <algorithm>
#include <cmath>
#include <random>

#include "verify/model_checks.hpp"

namespace esp::verify {
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
std::string misfit(ModelWorld& model, uint32_t param, const TrainResult& at, std::mt19937_64& random) {
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
  return " the loss changes by " + number_text(changes.found) + ", its gradient promises " +
         number_text(changes.promised);
}

}  // namespace

// A long step stands out of rounding and bends, a short one crosses fewer corners; and another point has other corners.
// A gradient that is wrong fits nowhere.
void differentiates(const ModelSubject& subject, uint32_t unit, Findings& findings) {
  constexpr int kPoints = 4;
  const ModelTrial trial(subject, findings);
  ModelScenario scenario = trial.scenario();
  scenario.rows = scenario.eval_rows = 1;
  const auto model = trial.started(scenario);
  const esp_unit& part = *model->desc().units[unit];
  std::vector<uint32_t> open(part.uses, part.uses + part.n_uses);  // parameters that have not fitted yet
  std::mt19937_64 random(trial.seed() + unit);
  std::string text;
  for (int point = 0; point < kPoints && !open.empty(); ++point) {
    leave_corners(*model, random);
    const TrainResult at = trial.train_once(*model, static_cast<uint64_t>(point));
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
