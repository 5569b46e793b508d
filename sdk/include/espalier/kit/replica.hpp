// The whole model on every rank: memory, binds, optimizer state and the verbs of which replicated strategies are made.
//
// A strategy derives from it and writes its hooks with the verbs; plan, prepare, state and state_loaded are ready:
//
//   void post_backward(const esp_step& step, uint32_t) {
//     if (const Block* block = finished(step)) {
//       average_gradients(*block);
//       add_to_norm(*block);
//       if (!update_waits_for_norm()) update(*block);
//     }
//   }
//   void end_pass(const esp_step&) {
//     finish_norm();
//     if (update_waits_for_norm()) update_all();
//   }
//
// The verbs work on a stream of their own, beside the model's; with ReplicaSettings::updates_apart, norm and updates on
// a second one, so that no collective waits for the update before it. The host joins them at the end of the step.
#ifndef ESPALIER_KIT_REPLICA_HPP
#define ESPALIER_KIT_REPLICA_HPP

#include <espalier/kit/fence.hpp>
#include <espalier/kit/layout.hpp>
#include <espalier/kit/precision.hpp>
#include <espalier/kit/priority.hpp>
#include <espalier/kit/schedule.hpp>
#include <espalier/kit/shard_set.hpp>
#include <espalier/kit/state_emitter.hpp>
#include <espalier/kit/update_list.hpp>
#include <espalier/strategy.hpp>
#include <optional>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

struct ReplicaSettings {
  uint64_t bucket_bytes = 0;        // gradients of neighbouring units are merged until a block has this size
  uint32_t unless_asked = 0;        // ESP_PRECISION_ when the user names none; 0 = bf16 on CUDA, fp32 on CPUs
  bool communicates_state = false;  // average_weights and spread_state will be used
  bool updates_apart = false;       // with several ranks norm and updates run on update_stream(), behind stream()
};

class Replica {
 public:
  esp_plan plan(const esp_view& view) {
    const esp_run& run = host_.run();
    if (run.mode == ESP_MODE_TRAIN && view.n_train == 0)
      fail(ESP_E_INVALID, "the schedule of a training step is empty");
    compute_t_ = compute_dtype(run, settings_.unless_asked ? settings_.unless_asked : usual_precision(run));
    esp_plan plan{};
    plan.n_passes = 1;
    plan.compute_t = compute_t_;
    plan.grad_t = compute_t_;
    plan.caps = ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC;
    plan.caps |= run.device_kind == ESP_CUDA ? ESP_CAP_CUDA : ESP_CAP_CPU;
    if (run.mode == ESP_MODE_INFER) plan.caps |= ESP_CAP_INFER;
    return plan;
  }

  void prepare(const esp_view& view, const Binder& binder) {
    const bool trains = host_.run().mode == ESP_MODE_TRAIN;
    std::vector<uint32_t> moving;
    Bucket fixed;
    for (uint32_t id = 0; id < view.n_params; ++id) {
      const bool moves = trains && (view.params[id]->flags & ESP_PARAM_TRAINABLE) != 0;
      (moves ? moving : fixed.params).push_back(id);
    }
    fixed_ = Layout(view, {fixed}, alignment_of(ESP_DTYPE_BYTES(compute_t_)));
    fixed_weights_ = host_.memory.device(bytes_of(fixed_), ESP_TAG_PARAM, state_flags());
    if (trains) prepare_training(view, moving);
    bind(binder);
  }

  void state(const ShardSink& sink) const { list_state(sink, ESP_SHARD_REPLICATED); }

  void state_loaded() const {
    if (set_) refresh_weights(host_.device.compute());
  }

 protected:
  Replica(const Host& host, const ReplicaSettings& settings)
      : host_(host), settings_(settings), group_(host.comm.data()) {}

  const Host& host() const { return host_; }
  const Group& group() const { return group_; }  // the data-parallel ranks
  const std::vector<Block>& blocks() const { return trained_.blocks(); }

  // For verbs of one's own, from prepare on: a block's gradients, size() elements in compute_t(), and the stream of the
  // verbs, on which they are final once `finished` has named the block.
  void* gradients(const Block& block) const { return gradient(block.begin); }
  esp_dtype compute_t() const { return compute_t_; }
  // A block's weights as the optimizer keeps them, size() elements in master_t(); to be read behind update, on
  // update_stream(). In half precision the model computes with a copy.
  const void* masters(const Block& block) const { return set_->master(block.begin); }
  esp_dtype master_t() const { return set_->master_dtype(); }
  esp_stream stream() const { return side_; }
  // Of the verbs for norm and update; each runs behind what stream() holds when it is called.
  esp_stream update_stream() const { return updating_; }

  // The block that became final with the item whose backward has just been enqueued, or NULL. Later verbs see its
  // gradients.
  const Block* finished(const esp_step& step) const {
    const uint32_t index = step.pos < final_at_.size() ? final_at_[step.pos] : kNone;
    if (index == kNone) return nullptr;
    fence_->order(step.grads, side_);
    return &blocks()[index];
  }

  void average_gradients(const Block& block) const {
    if (group_.size == 1) return;
    host_.comm.all_reduce(group_, gradient(block.begin), block.size(), compute_t_, ESP_AVG, side_);
  }

  void add_to_norm(const Block& block) const {
    if ((update_flags_ & ESP_UPDATE_NORM) == 0) return;
    fence_->order(side_, updating_);
    for (const Place& place : block.places) {
      host_.update.norm_add(gradient(place.offset), place.numel, compute_t_, updating_);
    }
  }
  // Gradients that were averaged are everybody's: NULL. Where each rank has its own, name the group: then all ranks
  // clip, skip or stop alike, by the norm of all their gradients together.
  void finish_norm(esp_comm sharded_over = nullptr) const {
    if ((update_flags_ & ESP_UPDATE_NORM) != 0) host_.update.norm_finish(sharded_over, updating_);
  }

  // Whether the optimizer needs the norm of all gradients first (clipping, loss scaling).
  bool update_waits_for_norm() const { return (update_flags_ & ESP_UPDATE_BARRIER) != 0; }

  // Once per step and block, not before the block is finished: the model still reads its weights until then.
  void update(const Block& block) const {
    fence_->order(side_, updating_);
    fence_->order(host_.device.compute(), updating_);
    host_.update.apply(updates_[block.index].ranges(), updating_);
  }
  void update_all() const {
    for (const Block& block : blocks()) update(block);
  }

  // All weights become their mean over the ranks. Behind the step's last update.
  void average_weights() const {
    if (group_.size == 1 || !set_) return;
    fence_->order(updating_, side_);
    host_.comm.all_reduce(group_, set_->master(0), set_->size(), set_->master_dtype(), ESP_AVG, side_);
    refresh_weights(side_);
  }

  // Between steps: what the group's first rank holds goes to all others.
  void spread_state() const {
    if (group_.size == 1) return;
    spread(fixed_weights_.data(), fixed_.size(), compute_t_);
    if (!set_) return;
    spread(set_->master(0), set_->size(), set_->master_dtype());
    for (uint32_t slot = 0; slot < set_->n_slots(); ++slot) {
      spread(set_->slot(slot, 0), set_->size(), set_->slot_dtype(slot));
    }
  }

  void list_state(const ShardSink& sink, uint32_t flags) const {
    const StateEmitter emitter(sink, flags);
    for (const Block& block : fixed_.blocks()) {
      for (const Place& place : block.places) {
        emitter.weights(place.param, 0, place.numel, fixed_weights_.at(place.offset, compute_t_), compute_t_);
      }
    }
    for (const Block& block : blocks()) {
      for (const Place& place : block.places) emitter.owned(place.param, 0, place.numel, *set_, place.offset);
    }
  }

 private:
  static constexpr uint32_t kNone = 0xffffffffu;

  uint64_t bytes_of(const Layout& layout) const { return layout.size() * ESP_DTYPE_BYTES(compute_t_); }
  uint32_t state_flags() const { return settings_.communicates_state ? ESP_MEM_COMM : 0; }
  void* gradient(uint64_t offset) const { return gradients_.at(offset, compute_t_); }

  void prepare_training(const esp_view& view, const std::vector<uint32_t>& params) {
    const esp_update_desc& desc = host_.update.desc();
    update_flags_ = desc.flags;
    const Schedule schedule(view);
    const uint64_t min_elements = settings_.bucket_bytes / ESP_DTYPE_BYTES(compute_t_);
    trained_ = Layout(view, buckets_by_last_use(view, schedule, params, min_elements),
                      alignment_of(smallest_element(compute_t_, desc)));
    final_at_.assign(view.n_train, kNone);
    for (const Block& block : blocks()) final_at_[block.final_at] = block.index;

    const bool in_place = desc.master == compute_t_;
    weights_ = host_.memory.device(bytes_of(trained_), ESP_TAG_PARAM, in_place ? state_flags() : 0);
    gradients_ = host_.memory.device(bytes_of(trained_), ESP_TAG_GRAD, ESP_MEM_COMM);
    set_.emplace(host_.memory, desc, trained_.size(), ESP_DEVICE, in_place ? weights_.data() : nullptr, state_flags());
    list_updates();
    const bool alone = group_.size == 1;
    const bool apart = !alone && settings_.updates_apart;
    side_ = host_.device.new_stream(ESP_STREAM_DEVICE, apart ? kUrgent : alone ? kPatient : kMixed);
    updating_ = apart ? host_.device.new_stream(ESP_STREAM_DEVICE, kPatient) : side_;
    fence_.emplace(host_.device);
  }

  void list_updates() {
    for (const Block& block : blocks()) {
      UpdateList& list = updates_.emplace_back();
      for (const Place& place : block.places) {
        void* out = set_->holds_masters() ? weights_.at(place.offset, compute_t_) : nullptr;
        list.add(place.param, 0, place.numel, *set_, place.offset, gradient(place.offset), compute_t_, out, compute_t_);
      }
    }
  }

  // Once for the whole run: nothing moves.
  void bind(const Binder& binder) const {
    std::vector<esp_bind> binds;
    const auto add = [&](const Place& place, uint32_t what, const Buffer& arena, uint32_t mode) {
      binds.push_back({place.param, what, arena.at(place.offset, compute_t_), compute_t_, mode});
    };
    for (const Block& block : fixed_.blocks()) {
      for (const Place& place : block.places) add(place, ESP_BIND_PARAM, fixed_weights_, 0);
    }
    for (const Block& block : blocks()) {
      for (const Place& place : block.places) {
        add(place, ESP_BIND_PARAM, weights_, 0);
        add(place, ESP_BIND_GRAD, gradients_, ESP_WRITE_EACH_PASS);
      }
    }
    binder.bind({binds.data(), binds.size()});
  }

  // The model's copy of the masters, where it is one.
  void refresh_weights(esp_stream stream) const {
    if (!set_->holds_masters()) return;
    host_.kernels.convert(weights_.data(), compute_t_, set_->master(0), set_->master_dtype(), set_->size(), stream);
  }

  void spread(void* data, uint64_t n, esp_dtype dtype) const {
    const esp_stream stream = host_.device.compute();
    if (group_.rank != 0) host_.kernels.zero(data, n * ESP_DTYPE_BYTES(dtype), stream);
    host_.comm.all_reduce(group_, data, n, dtype, ESP_SUM, stream);
  }

  const Host& host_;
  const ReplicaSettings settings_;
  esp_dtype compute_t_ = 0;  // of weights and gradients; set by plan
  const Group group_;
  uint32_t update_flags_ = 0;

  Layout fixed_;  // what never changes: frozen parameters, everything in inference
  Buffer fixed_weights_;
  Layout trained_;
  Buffer weights_, gradients_;
  std::optional<ShardSet> set_;      // absent when nothing is trained
  std::vector<UpdateList> updates_;  // [blocks]
  std::vector<uint32_t> final_at_;   // [view.n_train] index of the block that is final there, or kNone
  esp_stream side_ = nullptr, updating_ = nullptr;
  std::optional<Fence> fence_;
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_REPLICA_HPP
