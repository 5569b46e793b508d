// Who owns what, for strategies that cut the model into blocks by the units that use them and give every rank a part of
// each: the plan, the layout, and the state of what is never trained. A strategy holds one and its parts refer to it.
#ifndef ESPALIER_KIT_SHARDING_HPP
#define ESPALIER_KIT_SHARDING_HPP

#include <cstdint>
#include <espalier/kit/block_schedule.hpp>
#include <espalier/kit/precision.hpp>
#include <espalier/kit/shard_set.hpp>
#include <espalier/kit/state_emitter.hpp>
#include <espalier/strategy.hpp>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// Fixed from prepare on. The layout's first `n_trained` blocks are trained, the others never change.
struct Sharding {
  explicit Sharding(const Host& the_host)
      : host(the_host),
        group(the_host.comm.data()),
        partition(static_cast<uint64_t>(group.rank), static_cast<uint64_t>(group.size)) {}

  // Chooses the dtype; to be called in plan. The caller adds what is its own.
  esp_plan plan(const esp_view& view) {
    const esp_run& run = host.run();
    if (trains() && view.n_train == 0) fail(ESP_E_INVALID, "the schedule of a training step is empty");
    compute_t = compute_dtype(run, usual_precision(run));
    esp_plan plan{};
    plan.n_passes = 1;
    plan.compute_t = plan.grad_t = compute_t;
    plan.caps = ESP_CAP_CAPTURE_STEP | ESP_CAP_DETERMINISTIC;
    plan.caps |= run.device_kind == ESP_CUDA ? ESP_CAP_CUDA : ESP_CAP_CPU;
    if (!trains()) plan.caps |= ESP_CAP_INFER;
    return plan;
  }

  // Blocks by the units that use them, trained ones first, each divisible by the ranks; to be called in prepare.
  void lay_out(const esp_view& view) {
    std::vector<uint32_t> moving, fixed;
    for (uint32_t id = 0; id < view.n_params; ++id) {
      const bool moves = trains() && (view.params[id]->flags & ESP_PARAM_TRAINABLE) != 0;
      if (view.params[id]->numel > 0) (moves ? moving : fixed).push_back(id);
    }
    const Schedule schedule(view);
    std::vector<Bucket> buckets = buckets_by_users(view, schedule, moving);
    n_trained = static_cast<uint32_t>(buckets.size());
    for (Bucket& bucket : buckets_by_users(view, schedule, fixed)) buckets.push_back(std::move(bucket));
    const uint64_t smallest =
        moving.empty() ? ESP_DTYPE_BYTES(compute_t) : smallest_element(compute_t, host.update.desc());
    layout = Layout(view, buckets, alignment_of(smallest), static_cast<uint64_t>(group.size));
    windows = Windows(view, layout, n_trained);
  }

  // Calls act with each trained block whose gradient is final with the backward at a position of view.train.
  template <class Act>
  void for_finished(uint32_t pos, Act act) const {
    for (const Window& window : windows.closes(pos)) {
      if (window.last) act(layout.blocks()[window.block]);
    }
  }

  template <class Act>
  void for_trained(Act act) const {
    for (uint32_t index = 0; index < n_trained; ++index) act(layout.blocks()[index]);
  }

  // Trained, but no backward of the schedule adds to their gradients.
  template <class Act>
  void for_unreached(Act act) const {
    for_trained([&](const Block& block) {
      if (windows.count(block.index) == 0) act(block);
    });
  }

  // Lists this rank's part of a block that is not trained; own: the first of its elements, in compute_t.
  void list_fixed(const StateEmitter& emitter, const Block& block, void* own) const {
    for (const Piece& piece : partition.own(block)) {
      void* data = element(own, piece.at - partition.begin(block), compute_t);
      emitter.weights(piece.param, piece.offset, piece.offset + piece.n, data, compute_t);
    }
  }

  bool trains() const { return host.run().mode == ESP_MODE_TRAIN; }
  bool alone() const { return group.size == 1; }
  bool trained(const Block& block) const { return block.index < n_trained; }

  const Host& host;
  const Group group;
  const Partition partition;
  Layout layout;
  uint32_t n_trained = 0;
  Windows windows;
  esp_dtype compute_t = 0;  // of weights and of the gradients that the model writes
};

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_SHARDING_HPP
