// One step: the strategy's hooks around the model's units, in the order of the schedule.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "runtime/device/device.hpp"
#include "runtime/services/host_services.hpp"
#include "runtime/train/component_instance.hpp"
#include "runtime/train/input_pipeline.hpp"
#include "runtime/train/loss_meter.hpp"
#include "runtime/train/model_view.hpp"

namespace esp::runtime {

// What a step is made of; all outlives the driver.
struct StepParts {
  Device& device;
  Communicator& data;
  Strategy& strategy;
  HostServices& services;  // the strategy's
  Model& model;
  const ModelView& view;
  UpdateService* update;  // NULL: no training
  LossMeter& losses;
  StallMeter& stalls;
};

class StepDriver {
 public:
  // captures: training steps become graphs where the strategy's streams allow it. Every variant of a step runs eagerly
  // once, is captured when it comes again, and is launched as one from then on.
  StepDriver(const StepParts& parts, bool captures);

  // What strategies bind through. On the CPU binds are items of the compute queue, in order with the model's work.
  const esp_binder* binder() const { return &binder_; }

  // Hooks run on this thread and run ahead of the queues; scalars and inputs were enqueued before. Enqueues only.
  void train(uint64_t index, uint32_t n_passes, bool warmup, const InputPipeline& inputs);
  // Collectives of the steps that were launched as graphs.
  CommCounters replayed() const { return replayed_; }
  // Steps are captured anew. The device must be idle.
  void forget_graphs() { variants_.clear(); }
  // One evaluation batch: forward and loss of micro-batch 0.
  void evaluate(const InputPipeline& inputs);

 private:
  static esp_status bind(void* ctx, const esp_bind* binds, uint32_t n, esp_error* error);
  // A variant of the training step.
  struct Variant {
    bool ran = false;  // eagerly, beyond the warm-up
    std::unique_ptr<Graph> graph;
    CommCounters collectives;  // of one launch
    StallMeter::Spans spans;
  };
  void enqueue(esp_step step, uint32_t n_passes, const InputPipeline& inputs);
  void capture(Variant& variant, esp_step step, uint32_t n_passes, const InputPipeline& inputs);
  void launch(const Variant& variant);
  void forward(esp_step step, uint32_t unit, const InputPipeline& inputs, bool first_of_micro);
  void backward(esp_step step, uint32_t unit, bool first_of_micro);
  esp_step make_step(uint32_t flags) const;
  void order(Stream& earlier, Stream& later);
  // Runs a function of the model where the model lives: as an item of the compute queue, or here.
  void on_compute(std::function<void()> work);

  Device& device_;
  Communicator& data_;
  Strategy& strategy_;
  HostServices& services_;
  Model& model_;
  const ModelView& view_;
  UpdateService* update_;
  LossMeter& losses_;
  StallMeter& stalls_;
  const bool captures_;
  std::unique_ptr<Stream> grads_;  // for gradients that the model computes beside its main work; NULL: there are none
  std::unique_ptr<Event> ordered_;
  esp_binder binder_;
  std::map<uint32_t, Variant> variants_;
  CommCounters replayed_;
};

}  // namespace esp::runtime
