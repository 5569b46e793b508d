// The optimizer's side: masters and slots of this rank's parts, on the device or in host memory.
#pragma once

#include <espalier/kit/fence.hpp>
#include <espalier/kit/shard_set.hpp>
#include <espalier/kit/state_emitter.hpp>
#include <espalier/kit/update_list.hpp>
#include <vector>

#include "gradients.hpp"
#include "sharding.hpp"
#include "weights.hpp"

namespace zero {

// Offloaded, a gradient goes to host memory as soon as it is final, a stream of the CPU updates masters and slots
// there, and a third stream brings the new weights back: all of it beside the model.
class ShardUpdate {
 public:
  // reducing: where gradients become final; updating: where norm and updates run. The parts outlive this.
  ShardUpdate(const Sharding& sharding, const Weights& weights, const Gradients& gradients, esp_stream reducing,
              esp_stream updating, bool offload);

  // What was enqueued on `reducing` makes the block's gradient final: it enters the norm.
  void gradient_final(const esp::kit::Block& block) const;
  void finish_norm() const;
  bool waits_for_norm() const { return (flags_ & ESP_UPDATE_BARRIER) != 0; }
  void apply(const esp::kit::Block& block) const;

  void list_state(const esp::kit::StateEmitter& emitter, const esp::kit::Block& block) const;
  void masters_loaded() const;  // between steps: the weights become what the masters are

 private:
  // Addresses of element `piece.at` of the whole arena, which lies in this rank's part of the block.
  void* in_part(void* part, const esp::kit::Block& block, const esp::kit::Piece& piece, esp_dtype dtype) const;
  void* master(const esp::kit::Block& block, const esp::kit::Piece& piece) const;
  uint64_t in_set(const esp::kit::Block& block, const esp::kit::Piece& piece) const;
  // Where the update leaves the weights of a block in host memory.
  void* staged_weights(const esp::kit::Block& block) const;
  void list_updates();
  void send_weights(const esp::kit::Block& block, esp_stream stream) const;

  const Sharding& sharding_;
  const Weights& weights_;
  const Gradients& gradients_;
  const esp_stream reducing_, updating_;
  const bool offload_;
  const uint32_t flags_;  // ESP_UPDATE_
  const bool in_place_;   // the weights are the masters
  const esp::kit::Fence fence_;
  esp::kit::ShardSet set_;
  std::vector<esp::kit::UpdateList> updates_;  // [trained blocks]

  esp_stream cpu_ = nullptr, upload_ = nullptr;  // offloaded only, like the arrays in pinned memory
  esp::Buffer host_gradients_, host_weights_;
};

}  // namespace zero
