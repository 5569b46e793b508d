#include "runtime/train/step_driver.hpp"

#include <cstdio>
#include <string>

namespace esp::runtime {
namespace {

constexpr int32_t kGradsPriority = -1;  // behind compute, which everything waits for

}  // namespace

StepDriver::StepDriver(const StepParts& parts, bool captures)
    : device_(parts.device),
      data_(parts.data),
      strategy_(parts.strategy),
      services_(parts.services),
      model_(parts.model),
      view_(parts.view),
      update_(parts.update),
      losses_(parts.losses),
      stalls_(parts.stalls),
      captures_(captures),
      ordered_(device_.create_event()),
      binder_{sizeof(esp_binder), 0, this, &StepDriver::bind} {
  // On the CPU the model runs in the compute queue and could not enqueue on another.
  if (device_.kind() == ESP_CPU || update_ == nullptr) return;
  grads_ = device_.create_stream(ESP_STREAM_DEVICE, kGradsPriority, "gradients");
  services_.lend(*grads_);
}

void StepDriver::order(Stream& earlier, Stream& later) {
  device_.record(*ordered_, earlier);
  device_.wait(later, *ordered_);
}

void StepDriver::on_compute(std::function<void()> work) {
  if (device_.kind() == ESP_CPU) {
    device_.enqueue(device_.compute(), std::move(work));
  } else {
    work();
  }
}

// Called through the ABI: nothing may be thrown across.
esp_status StepDriver::bind(void* ctx, const esp_bind* binds, uint32_t n, esp_error* error) {
  auto* self = static_cast<StepDriver*>(ctx);
  const auto refuse = [&](esp_status status, const std::string& text) {
    if (error != nullptr) {
      error->code = status;
      std::snprintf(error->where, sizeof error->where, "bind");
      std::snprintf(error->message, sizeof error->message, "%s", text.c_str());
    }
    return status;
  };
  try {
    for (uint32_t i = 0; i < n; ++i) {
      if (binds[i].param >= self->view_.params().size()) {
        return refuse(ESP_E_INVALID, "bind of parameter " + std::to_string(binds[i].param) + ", which does not exist");
      }
    }
    self->on_compute([self, list = std::vector<esp_bind>(binds, binds + n)] {
      self->model_.call("bind", &esp_model_v1::bind, list.data(), static_cast<uint32_t>(list.size()));
    });
    return ESP_OK;
  } catch (const std::exception& failure) {
    return refuse(ESP_E_STATE, failure.what());
  }
}

esp_step StepDriver::make_step(uint32_t flags) const {
  esp_step step{};
  step.struct_size = sizeof(esp_step);
  step.flags = flags;
  step.compute = device_.compute().handle();
  step.grads = step.compute;
  return step;
}

void StepDriver::forward(esp_step step, uint32_t unit, const InputPipeline& inputs, bool first_of_micro) {
  if (first_of_micro) {
    on_compute([this, step, &inputs] {
      const std::vector<const esp_tensor*>& tensors = inputs.tensors(step.micro);
      model_.call("begin_micro", &esp_model_v1::begin_micro, &step, tensors.data(),
                  static_cast<uint32_t>(tensors.size()));
    });
  }
  strategy_.call_if_present("pre_forward", &esp_strategy_v1::pre_forward, &step, unit);
  on_compute([this, step, unit] { model_.call("forward_unit", &esp_model_v1::forward_unit, &step, unit); });
  strategy_.call_if_present("post_forward", &esp_strategy_v1::post_forward, &step, unit);
}

void StepDriver::backward(esp_step step, uint32_t unit, bool first_of_micro) {
  if (first_of_micro) {
    on_compute([this, step] { model_.call("loss", &esp_model_v1::loss, &step); });
    const esp_view& view = view_.view();
    if (step.pass == 0 && step.micro == view.train[view.n_train - 1].micro) losses_.sum();  // only that pass counts
  }
  strategy_.call_if_present("pre_backward", &esp_strategy_v1::pre_backward, &step, unit);
  on_compute([this, step, unit] { model_.call("backward_unit", &esp_model_v1::backward_unit, &step, unit); });
  // A model need not know of the second stream: what it enqueued is final there.
  if (grads_ != nullptr) order(device_.compute(), *grads_);
  strategy_.call_if_present("post_backward", &esp_strategy_v1::post_backward, &step, unit);
}

void StepDriver::train(uint64_t index, uint32_t n_passes, bool warmup, const InputPipeline& inputs) {
  esp_step step = make_step(warmup ? ESP_STEP_WARMUP : 0);
  step.index = index;
  if (grads_ != nullptr) step.grads = grads_->handle();
  if (strategy_.table().variant != nullptr) step.variant = strategy_.table().variant(strategy_.self(), index);
  Variant& variant = variants_[step.variant];
  if (variant.graph != nullptr) return launch(variant);
  if (!captures_ || warmup || !variant.ran || services_.uses_cpu_streams()) {
    enqueue(step, n_passes, inputs);
    variant.ran = !warmup;
    return;
  }
  capture(variant, step, n_passes, inputs);
}

void StepDriver::capture(Variant& variant, esp_step step, uint32_t n_passes, const InputPipeline& inputs) {
  step.flags |= ESP_STEP_CAPTURING;
  const CommCounters before = data_.counters();
  const StallMeter::Spans spans_before = stalls_.take();
  const uint64_t key = step.variant;
  model_.call_if_present("capture", &esp_model_v1::capture, key, 1u);
  device_.begin_capture();
  try {
    enqueue(step, n_passes, inputs);
    variant.graph = device_.end_capture();
  } catch (...) {
    device_.abandon_capture();
    throw;
  }
  model_.call_if_present("capture", &esp_model_v1::capture, key, 0u);
  variant.collectives = data_.counters() - before;
  variant.spans = stalls_.take();
  stalls_.add(spans_before);
  stalls_.add(variant.spans);
  device_.launch(*variant.graph);
}

void StepDriver::launch(const Variant& variant) {
  device_.launch(*variant.graph);
  update_->replayed();
  replayed_ += variant.collectives;
  stalls_.add(variant.spans);
}

void StepDriver::enqueue(esp_step step, uint32_t n_passes, const InputPipeline& inputs) {
  services_.fork(StepKind::kTrain);
  if (grads_ != nullptr) order(device_.compute(), *grads_);
  strategy_.call_if_present("begin_step", &esp_strategy_v1::begin_step, &step);
  const esp_view& view = view_.view();
  for (step.pass = 0; step.pass < n_passes; ++step.pass) {
    for (step.pos = 0; step.pos < view.n_train; ++step.pos) {
      const esp_item& item = view.train[step.pos];
      const bool first =
          step.pos == 0 || view.train[step.pos - 1].micro != item.micro || view.train[step.pos - 1].phase != item.phase;
      step.micro = item.micro;
      if (item.phase == ESP_FWD) {
        forward(step, item.unit, inputs, first);
      } else {
        backward(step, item.unit, first);
      }
    }
    step.pos = view.n_train - 1;
    strategy_.call_if_present("end_pass", &esp_strategy_v1::end_pass, &step);
  }
  if (grads_ != nullptr) order(*grads_, device_.compute());
  losses_.join();
  services_.join();
}

void StepDriver::evaluate(const InputPipeline& inputs) {
  esp_step step = make_step(ESP_STEP_EVAL);
  services_.fork(StepKind::kEval);
  strategy_.call_if_present("begin_step", &esp_strategy_v1::begin_step, &step);
  const esp_view& view = view_.view();
  for (step.pos = 0; step.pos < view.n_eval; ++step.pos) {
    forward(step, view.eval[step.pos].unit, inputs, step.pos == 0);
  }
  step.pos = view.n_eval - 1;
  on_compute([this, step] { model_.call("loss", &esp_model_v1::loss, &step); });
  services_.join();
}

}  // namespace esp::runtime
