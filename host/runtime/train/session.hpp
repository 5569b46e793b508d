// Everything that one rank needs to train or evaluate, put together in the order in which each part knows enough.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "runtime/api.hpp"
#include "runtime/comm/rendezvous.hpp"
#include "runtime/comm/stall_meter.hpp"
#include "runtime/device/device.hpp"
#include "runtime/services/host_services.hpp"
#include "runtime/train/component_instance.hpp"
#include "runtime/train/input_pipeline.hpp"
#include "runtime/train/loss_meter.hpp"
#include "runtime/train/model_view.hpp"
#include "runtime/train/shard_state.hpp"
#include "runtime/train/step_driver.hpp"
#include "runtime/update/update_service.hpp"

namespace esp::runtime {

class Session {
 public:
  // Connects the ranks, creates data set, model and strategy, plans, prepares, initialises. Throws Error.
  Session(const Job& job, Observer& observer);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Lets the queues run empty after a failure, so that destruction does not wait for work that cannot finish.
  void abandon(std::exception_ptr failure) noexcept;
  void throw_if_stopped() const;                        // Error(kInterrupted)
  uint32_t split_index(const std::string& name) const;  // throws Error(kData) naming the splits there are
  bool has_split(const std::string& name) const;
  uint64_t split_count(const std::string& name) const;  // samples, data.limit applied
  MemoryReport memory_report();                         // maximum over ranks; all ranks call it
  bool adapts() const { return training() && (plan.caps & ESP_CAP_ADAPTS) != 0; }
  // Between steps, behind the strategy's warm-up: it learns what memory is left to it. All ranks call it.
  void adapt();
  // Writes the trained weights into job.model_folder; all ranks call it.
  void save_model();
  StartReport start_report() const;
  std::string gpu_identity() const;  // CudaApi::identity; empty on a CPU

  const Job& job;
  Observer& observer;
  std::unique_ptr<Device> device;
  std::unique_ptr<StallMeter> stalls;
  World world;
  std::unique_ptr<HostServices> dataset_services, model_services, strategy_services;
  std::unique_ptr<Dataset> dataset;
  const esp_dataset_desc* data = nullptr;
  std::unique_ptr<Model> model;
  const esp_model_desc* model_desc = nullptr;
  BatchPlan batch;
  std::unique_ptr<ModelView> view;
  std::unique_ptr<Strategy> strategy;
  esp_plan plan{};
  std::unique_ptr<UpdateService> update;
  std::unique_ptr<LossMeter> losses;
  std::unique_ptr<InputPipeline> inputs;
  std::unique_ptr<StepDriver> driver;

 private:
  friend class DryRun;  // takes the same steps one by one, on a device that only counts

  Session(const Job& job, Observer& observer, std::unique_ptr<Device> device, World world);
  GpuFacts gpu_facts() const;
  bool captures_steps() const;
  bool training() const { return job.task == Task::kTrain; }
  Callee callee(const Instance& instance, uint32_t kind) const;
  std::unique_ptr<HostServices> make_services(const Instance& instance, uint32_t kind);
  void describe_run();  // batch, run_
  void create_dataset();
  void create_model();
  void create_strategy();  // and the view it is given
  void create_update();
  uint32_t input_micros() const { return std::max(run_.n_micro, 1u); }
  uint32_t input_rows() const { return static_cast<uint32_t>(batch.micro_batch); }
  void create_losses();
  void describe_model_run(const uint32_t* valid);  // after create_update and create_losses
  void prepare_model();
  void prepare_dataset();
  void agree_over_ranks();
  uint64_t peak_of_model();
  void adapt_to(uint64_t model_peak);  // bytes that the model was seen to take

  esp_run run_{};
  esp_config dataset_config_{}, model_config_{}, strategy_config_{};
  esp_model_run model_run_{};
  esp_model_need need_{};                       // of a run that adapts
  uint32_t precision_ = ESP_PRECISION_DEFAULT;  // resolved by create_strategy
};

// Whole job of a rank.
void train(Session& session);
void evaluate_only(Session& session);

// Scores every sample of a split once; all ranks call it and get the same result.
Evaluation evaluate(Session& session, const std::string& split);

// Task::kExport: initial values of the model, which come from model.weights, written to job.model_folder. One process.
void export_weights(const Job& job, Observer& observer);

// All ranks call it.
MemoryByTag max_over_ranks(ControlGroup& group, const MemoryByTag& bytes);

}  // namespace esp::runtime
