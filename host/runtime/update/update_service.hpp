// Optimizer, clipping, loss scaling and step count: everything about the update that is not the strategy's business.
#pragma once

#include <espalier/host.h>
#include <espalier/strategy.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "config/run_config.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/stall_meter.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime {

struct UpdateParam {
  uint64_t numel = 0;
  uint32_t group = 0;
  bool trainable = true;
};

struct ScalerConfig {
  float init = 65536;  // 2^16
  float min = 1;
  uint32_t window = 1000;
  uint32_t hysteresis = 2;
};
ScalerConfig scaler_of(const esp_plan& plan);  // zero fields: the defaults above

struct UpdateConfig {
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double momentum = 0;               // SGD
  std::vector<double> weight_decay;  // by group
  std::vector<UpdateParam> params;   // by parameter id
  double clip_norm = 0;              // 0 = off
  bool fp16 = false;                 // dynamic loss scaling
  ScalerConfig scaler;
  esp_dtype master = ESP_F32;    // F64: the oracle in double precision
  int32_t data_size = 1;         // W, ranks of the data-parallel group
  StallMeter* stalls = nullptr;  // of waits of the compute stream
};

// What a checkpoint keeps beside the slots.
struct UpdateState {
  uint64_t applied_steps = 0;
  uint64_t skipped_steps = 0;
  float loss_scale = 1;
  uint32_t good_steps = 0;
  uint32_t hysteresis_left = 0;
};

// A training step: begin_step, fork, hooks (norm_add, norm_finish, apply), join, end_step. Nothing here blocks but
// result, state and restore. One thread at a time.
class UpdateService {
 public:
  UpdateService(Device& device, UpdateConfig config);
  ~UpdateService();

  const esp_update_desc* desc() const { return &desc_; }
  const esp_scalars* scalars() const { return &scalars_; }
  const float* loss_seed() const;  // device memory, for esp_model_run

  // Before the fork. lr: by group. samples: of the whole step over all ranks, at least 1.
  void begin_step(uint64_t index, std::span<const double> lr, uint64_t samples);
  // Instead of the strategy's calls: a graph that holds them was launched.
  void replayed() { norm_finished_ = true; }
  // After the join: scaler and counters move on. Throws Error(kPlugin) when the strategy left out norm_finish.
  void end_step();
  // Of a step that was ended; the latest kResultsKept are there. Blocks until the device got there, so ask one step
  // later.
  UpdateResult result(uint64_t index);
  static constexpr uint64_t kResultsKept = 8;

  // For esp.update; wrong use throws Error(kPlugin).
  void norm_add(const void* grad, uint64_t n, esp_dtype dtype, Stream& stream);
  void norm_finish(Communicator* sharded_over, Stream& stream);
  // inspect: sees every range before anything is enqueued, and may throw.
  // norm_add gathers what follows each other on one stream into one launch. Call this before anything else is enqueued
  // there that might change the gradients: it enqueues what was gathered.
  void flush_norm();
  void flush_norm(const Stream& of);  // if it was gathered for that stream
  // Where what was gathered are the gradients of these very ranges, on this stream, they are read once for both.
  void apply(std::span<const esp_range* const> ranges, Stream& stream,
             const std::function<void(const UpdateRange&)>& inspect = {});
  // Elements given to apply and norm_add since begin_step.
  uint64_t applied_elements() const { return applied_elements_; }
  uint64_t norm_elements() const { return norm_elements_; }

  // Outside steps.
  UpdateState state();
  void restore(const UpdateState& state);

 private:
  void wait(Stream& stream, Event& event);
  void order_after_finish(Stream& stream);
  UpdateRange checked(const esp_range& range) const;
  bool gathered(std::span<const UpdateRange> ranges, const Stream& stream) const;
  void added(Stream& stream);

  Device& device_;
  UpdateConfig config_;
  UpdateRules rules_;
  Arena arena_;
  UpdateBlock* block_;
  UpdateResult* mirror_;       // [kResultsKept], pinned
  UpdateBlock* state_mirror_;  // pinned
  esp_update_desc desc_{};
  esp_scalars scalars_{};
  std::vector<esp_slot> slots_;
  std::vector<const esp_slot*> slot_list_;
  std::vector<std::unique_ptr<Event>> added_;  // by Stream::index(): the last norm_add there
  std::vector<uint32_t> adders_;               // their indices, since the last norm_finish
  std::vector<NormPiece> pieces_;              // gathered for pieces_stream_
  Stream* pieces_stream_ = nullptr;
  std::unique_ptr<Event> finished_;
  std::unique_ptr<Event> ended_[kResultsKept];
  uint64_t step_ = 0;
  uint64_t ended_steps_ = 0;
  uint64_t ended_index_[kResultsKept] = {};
  bool in_step_ = false, norm_finished_ = false;
  uint64_t applied_elements_ = 0, norm_elements_ = 0;
};

}  // namespace esp::runtime
