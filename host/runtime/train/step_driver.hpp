// One step: the strategy's hooks around the model's units, in the order of the schedule.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/device/device.hpp"
#include "runtime/services/host_services.hpp"
#include "runtime/train/component_instance.hpp"
#include "runtime/train/input_pipeline.hpp"
#include "runtime/train/model_view.hpp"

namespace esp::runtime {

class StepDriver {
 public:
  // All references must outlive this.
  StepDriver(Device& device, Strategy& strategy, HostServices& services, Model& model, const ModelView& view);

  // What strategies bind through. On the CPU binds are items of the compute queue, in order with the model's work.
  const esp_binder* binder() const { return &binder_; }

  // Hooks run on this thread and run ahead of the queues; scalars and inputs were enqueued before. Enqueues only.
  void train(uint64_t index, uint32_t n_passes, bool warmup, const InputPipeline& inputs);
  // One evaluation batch: forward and loss of micro-batch 0.
  void evaluate(const InputPipeline& inputs);

 private:
  static esp_status bind(void* ctx, const esp_bind* binds, uint32_t n, esp_error* error);
  void forward(esp_step step, uint32_t unit, const InputPipeline& inputs, bool first_of_micro);
  void backward(esp_step step, uint32_t unit, bool first_of_micro);
  esp_step make_step(uint32_t flags) const;
  // Runs a function of the model where the model lives: as an item of the compute queue, or here.
  void on_compute(std::function<void()> work);

  Device& device_;
  Strategy& strategy_;
  HostServices& services_;
  Model& model_;
  const ModelView& view_;
  esp_binder binder_;
};

}  // namespace esp::runtime
