#include "runtime/update/update_service.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "runtime/device/call_error.hpp"
#include "runtime/device/dtype.hpp"

namespace esp::runtime {
namespace {

UpdateRules rules_of(const UpdateConfig& config) {
  UpdateRules rules;
  rules.adamw = config.optimizer == OptimizerKind::kAdamW;
  rules.beta1 = config.beta1;
  rules.beta2 = config.beta2;
  rules.eps = config.eps;
  rules.momentum = config.momentum;
  rules.clip_norm = config.clip_norm;
  rules.barrier = config.fp16 || config.clip_norm > 0;
  rules.dynamic_scale = config.fp16;
  rules.scale_min = config.scaler.min;
  rules.scale_window = config.scaler.window;
  rules.scale_hysteresis = config.scaler.hysteresis;
  return rules;
}

std::vector<const char*> slot_names(const UpdateConfig& config) {
  if (config.optimizer == OptimizerKind::kAdamW) return {"exp_avg", "exp_avg_sq"};
  if (config.momentum != 0) return {"momentum"};
  return {};
}

}  // namespace

ScalerConfig scaler_of(const esp_plan& plan) {
  ScalerConfig scaler;
  if (plan.scale_init != 0) scaler.init = plan.scale_init;
  if (plan.scale_min != 0) scaler.min = plan.scale_min;
  if (plan.scale_window != 0) scaler.window = plan.scale_window;
  if (plan.scale_hysteresis != 0) scaler.hysteresis = plan.scale_hysteresis;
  return scaler;
}

UpdateService::UpdateService(Device& device, UpdateConfig config)
    : device_(device),
      config_(std::move(config)),
      rules_(rules_of(config_)),
      arena_(device.memory(), "update"),
      block_(static_cast<UpdateBlock*>(arena_.alloc(ESP_DEVICE, sizeof(UpdateBlock), ESP_TAG_OTHER))),
      mirror_(static_cast<UpdateResult*>(arena_.alloc(ESP_PINNED, kResultsKept * sizeof(UpdateResult), ESP_TAG_OTHER))),
      state_mirror_(static_cast<UpdateBlock*>(arena_.alloc(ESP_PINNED, sizeof(UpdateBlock), ESP_TAG_OTHER))),
      added_(kMaxStreams),
      finished_(device.create_event()) {
  if (config_.weight_decay.size() > kMaxGroups) {
    throw Error(ExitCode::kUsage, std::to_string(config_.weight_decay.size()) + " parameter groups; at most " +
                                      std::to_string(kMaxGroups) + " are possible");
  }
  for (auto& event : ended_) event = device.create_event();
  for (const char* name : slot_names(config_)) slots_.push_back({ESP_UPTO(esp_slot, name), config_.master, name});
  for (const esp_slot& slot : slots_) slot_list_.push_back(&slot);
  desc_ = {ESP_UPTO(esp_update_desc, slots), ESP_UPDATE_NORM | (rules_.barrier ? ESP_UPDATE_BARRIER : 0u),
           config_.master, static_cast<uint32_t>(slots_.size()), slot_list_.data()};
  scalars_ = {ESP_UPTO(esp_scalars, step),
              static_cast<uint32_t>(config_.weight_decay.size()),
              block_->lr,
              block_->weight_decay,
              &block_->coef,
              &block_->applied_steps,
              &block_->loss_scale,
              &block_->found_inf,
              &block_->grad_norm,
              &block_->step};
  UpdateState initial;
  initial.loss_scale = config_.fp16 ? config_.scaler.init : 1.0f;
  initial.hysteresis_left = config_.scaler.hysteresis;
  restore(initial);
}

UpdateService::~UpdateService() { device_.drain(); }

const float* UpdateService::loss_seed() const { return &block_->loss_seed; }

void UpdateService::begin_step(uint64_t index, std::span<const double> lr, uint64_t samples) {
  if (lr.size() != config_.weight_decay.size()) {
    throw Error(ExitCode::kInternal, "begin_step was given " + std::to_string(lr.size()) + " learning rates for " +
                                         std::to_string(config_.weight_decay.size()) + " groups");
  }
  if (samples == 0) throw Error(ExitCode::kInternal, "begin_step was given no samples");
  UpdateInputs inputs;
  inputs.n_groups = static_cast<uint32_t>(lr.size());
  std::copy(lr.begin(), lr.end(), inputs.lr);
  inputs.step = index;
  inputs.seed_factor = static_cast<double>(config_.data_size) / static_cast<double>(samples);
  device_.kernels().begin_update(device_.compute(), block_, rules_, inputs);
  step_ = index;
  in_step_ = true;
  norm_finished_ = false;
  adders_.clear();
  pieces_.clear();
  pieces_stream_ = nullptr;
  applied_elements_ = norm_elements_ = 0;
}

void UpdateService::end_step() {
  if (!in_step_) throw Error(ExitCode::kInternal, "end_step without begin_step");
  in_step_ = false;
  if (!norm_finished_) {
    throw CallError(ESP_E_STATE, "the strategy did not call update.norm_finish in step " + std::to_string(step_) +
                                     " although ESP_UPDATE_NORM is set");
  }
  const uint64_t place = ended_steps_ % kResultsKept;
  device_.kernels().end_update(device_.compute(), block_, rules_, mirror_ + place);
  device_.record(*ended_[place], device_.compute());
  ended_index_[place] = step_;
  ++ended_steps_;
}

UpdateResult UpdateService::result(uint64_t index) {
  const uint64_t kept = std::min(ended_steps_, kResultsKept);
  for (uint64_t back = 1; back <= kept; ++back) {
    const uint64_t place = (ended_steps_ - back) % kResultsKept;
    if (ended_index_[place] != index) continue;
    device_.synchronize(*ended_[place]);
    device_.check();
    return mirror_[place];
  }
  throw Error(ExitCode::kInternal, "the result of step " + std::to_string(index) + " is not kept");
}

void UpdateService::wait(Stream& stream, Event& event) {
  const auto enqueue = [&] { device_.wait(stream, event); };
  if (config_.stalls == nullptr) return enqueue();
  config_.stalls->around(stream, StallMeter::Kind::kWait, enqueue);
}

void UpdateService::order_after_finish(Stream& stream) {
  if (norm_finished_) wait(stream, *finished_);
}

void UpdateService::norm_add(const void* grad, uint64_t n, esp_dtype dtype, Stream& stream) {
  if (!in_step_) throw CallError(ESP_E_STATE, "norm_add belongs into a training step");
  if (n == 0) return;
  if (pieces_stream_ != &stream) flush_norm();
  pieces_.push_back({grad, n, dtype});
  pieces_stream_ = &stream;
  norm_elements_ += n;
}

void UpdateService::flush_norm() {
  if (pieces_.empty()) return;
  Stream& stream = *pieces_stream_;
  const std::vector<NormPiece> pieces = std::exchange(pieces_, {});
  pieces_stream_ = nullptr;
  order_after_finish(stream);  // an earlier pass: its norm is taken before new squares are added
  device_.kernels().add_sum_sq(stream, pieces, &block_->partial[stream.index()]);
  added(stream);
}

void UpdateService::flush_norm(const Stream& of) {
  if (pieces_stream_ == &of) flush_norm();
}

// The stream's partial sum has been added to.
void UpdateService::added(Stream& stream) {
  auto& event = added_[stream.index()];
  if (event == nullptr) event = device_.create_event();
  device_.record(*event, stream);
  if (std::find(adders_.begin(), adders_.end(), stream.index()) == adders_.end()) adders_.push_back(stream.index());
}

void UpdateService::norm_finish(Communicator* sharded_over, Stream& stream) {
  if (!in_step_) throw CallError(ESP_E_STATE, "norm_finish belongs into a training step");
  flush_norm();
  order_after_finish(stream);
  for (uint32_t adder : adders_) {
    if (adder != stream.index()) wait(stream, *added_[adder]);
  }
  adders_.clear();
  if (sharded_over != nullptr) {
    device_.kernels().sum_partials(stream, block_);
    sharded_over->all_reduce(&block_->sum, &block_->sum, 1, ESP_F64, ESP_SUM, stream);
  }
  device_.kernels().finish_norm(stream, block_, rules_, /*sums=*/sharded_over == nullptr);
  device_.record(*finished_, stream);
  norm_finished_ = true;
}

void UpdateService::apply(std::span<const esp_range* const> ranges, Stream& stream,
                          const std::function<void(const UpdateRange&)>& inspect) {
  if (!in_step_) throw CallError(ESP_E_STATE, "apply belongs into a training step");
  if (rules_.barrier && !norm_finished_) {
    throw CallError(ESP_E_STATE, "apply before norm_finish, although ESP_UPDATE_BARRIER is set (clipping or fp16)");
  }
  std::vector<UpdateRange> checked_ranges;
  checked_ranges.reserve(ranges.size());
  for (const esp_range* range : ranges) {
    if (range == nullptr) throw CallError(ESP_E_INVALID, "a range is NULL");
    if (range->struct_size < ESP_UPTO(esp_range, out_t)) throw CallError(ESP_E_ABI, "esp_range is too small");
    checked_ranges.push_back(checked(*range));
    if (inspect) inspect(checked_ranges.back());
    applied_elements_ += range->n;
  }
  if (!gathered(checked_ranges, stream)) {
    flush_norm();
    order_after_finish(stream);
    device_.kernels().apply(stream, block_, rules_, checked_ranges, nullptr);
    return;
  }
  pieces_.clear();
  pieces_stream_ = nullptr;
  order_after_finish(stream);
  device_.kernels().apply(stream, block_, rules_, checked_ranges, &block_->partial[stream.index()]);
  added(stream);
}

// Whether the pieces of the norm that wait for a launch are these ranges' gradients. With a barrier the norm is needed
// before.
bool UpdateService::gathered(std::span<const UpdateRange> ranges, const Stream& stream) const {
  if (rules_.barrier || pieces_stream_ != &stream) return false;
  size_t i = 0;
  for (const UpdateRange& range : ranges) {
    if (range.n == 0) continue;
    if (i == pieces_.size()) return false;
    const NormPiece& piece = pieces_[i++];
    if (piece.grad != range.grad || piece.n != range.n || piece.dtype != range.grad_t) return false;
  }
  return i == pieces_.size();
}

UpdateRange UpdateService::checked(const esp_range& range) const {
  const auto refuse = [&](const std::string& what) {
    throw CallError(ESP_E_INVALID, "range of parameter " + std::to_string(range.param) + ": " + what);
  };
  if (range.param >= config_.params.size()) refuse("there is no such parameter");
  const UpdateParam& param = config_.params[range.param];
  if (!param.trainable) refuse("it is frozen and must not be updated");
  if (range.offset > param.numel || range.n > param.numel - range.offset) {
    refuse("elements [" + std::to_string(range.offset) + ", +" + std::to_string(range.n) + ") of " +
           std::to_string(param.numel));
  }
  if (!is_float(range.grad_t)) refuse("gradient dtype " + name_of(range.grad_t));
  if (range.out != nullptr && !is_float(range.out_t)) refuse("output dtype " + name_of(range.out_t));
  UpdateRange update{range.n,        range.master, {},          range.grad, range.out,
                     config_.master, range.grad_t, range.out_t, param.group};
  if (range.n == 0) return update;
  if (range.master == nullptr || range.grad == nullptr) refuse("master or grad is NULL");
  if (!slots_.empty() && range.slots == nullptr) refuse("slots is NULL");
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (range.slots[i] == nullptr) refuse(std::string("slot ") + slots_[i].name + " is NULL");
    update.slots[i] = range.slots[i];
  }
  return update;
}

UpdateState UpdateService::state() {
  device_.kernels().copy(device_.compute(), state_mirror_, block_, sizeof(UpdateBlock));
  device_.sync(device_.compute());
  const UpdateBlock& block = *state_mirror_;
  return {block.applied, block.skipped, block.loss_scale, block.good_steps, block.hysteresis_left};
}

void UpdateService::restore(const UpdateState& state) {
  device_.sync(device_.compute());
  UpdateBlock& block = *state_mirror_;
  std::memset(&block, 0, sizeof(block));
  for (size_t group = 0; group < config_.weight_decay.size(); ++group) {
    block.exact_decay[group] = config_.weight_decay[group];
    block.weight_decay[group] = static_cast<float>(config_.weight_decay[group]);
  }
  block.applied = state.applied_steps;
  block.skipped = state.skipped_steps;
  block.applied_steps = static_cast<float>(state.applied_steps);
  block.loss_scale = state.loss_scale;
  block.good_steps = state.good_steps;
  block.hysteresis_left = state.hysteresis_left;
  block.exact_coef = 1.0 / state.loss_scale;
  block.coef = static_cast<float>(block.exact_coef);
  device_.kernels().copy(device_.compute(), block_, &block, sizeof(UpdateBlock));
  device_.sync(device_.compute());
}

}  // namespace esp::runtime
