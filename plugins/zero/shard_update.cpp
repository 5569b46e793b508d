#include "shard_update.hpp"

namespace zero {

using esp::kit::Block;
using esp::kit::element;
using esp::kit::Piece;

ShardUpdate::ShardUpdate(const Sharding& sharding, const Weights& weights, const Gradients& gradients,
                         esp_stream reducing, esp_stream updating, bool offload)
    : sharding_(sharding),
      weights_(weights),
      gradients_(gradients),
      reducing_(reducing),
      updating_(updating),
      offload_(offload),
      flags_(sharding.host.update.desc().flags),
      in_place_(!offload && sharding.host.update.desc().master == sharding.compute_t),
      fence_(sharding.host.device),
      set_(sharding.host.memory, sharding.host.update.desc(), sharding.trained_part(),
           offload ? ESP_PINNED : ESP_DEVICE, in_place_ ? weights.own(sharding.layout.blocks()[0]) : nullptr, 0) {
  if (offload) {
    const uint64_t n = sharding.trained_part();
    cpu_ = sharding.host.device.new_stream(ESP_STREAM_CPU);
    upload_ = sharding.host.device.new_stream(ESP_STREAM_DEVICE);
    host_gradients_ = sharding.host.memory.pinned(n * ESP_DTYPE_BYTES(gradients.dtype()), ESP_TAG_BUCKET);
    if (set_.master_dtype() != sharding.compute_t) {
      host_weights_ = sharding.host.memory.pinned(n * ESP_DTYPE_BYTES(sharding.compute_t), ESP_TAG_BUCKET);
    }
  }
  list_updates();
}

void ShardUpdate::list_updates() {
  const esp_dtype grad_t = gradients_.dtype(), compute_t = sharding_.compute_t;
  for (const Block& block : sharding_.layout.blocks()) {
    if (!sharding_.trained(block)) break;
    esp::kit::UpdateList& list = updates_.emplace_back();
    void* out_part = offload_ ? host_weights_.at(sharding_.partition.at(block), compute_t) : weights_.own(block);
    const bool copies = set_.master_dtype() != compute_t;
    void* grad_part = offload_ ? host_gradients_.at(sharding_.partition.at(block), grad_t) : gradients_.own(block);
    for (const Piece& piece : sharding_.partition.own(block)) {
      list.add(piece.param, piece.offset, piece.n, master(block, piece), set_, in_set(block, piece),
               in_part(grad_part, block, piece, grad_t), grad_t,
               copies ? in_part(out_part, block, piece, compute_t) : nullptr, compute_t);
    }
  }
}

void ShardUpdate::gradient_final(const Block& block) const {
  const esp_dtype dtype = gradients_.dtype();
  fence_.order(reducing_, updating_);
  if ((flags_ & ESP_UPDATE_NORM) != 0) {
    for (const Piece& piece : sharding_.partition.own(block)) {
      sharding_.host.update.norm_add(in_part(gradients_.own(block), block, piece, dtype), piece.n, dtype, updating_);
    }
  }
  if (offload_) {
    sharding_.host.kernels.copy(host_gradients_.at(sharding_.partition.at(block), dtype), gradients_.own(block),
                                sharding_.partition.size(block) * ESP_DTYPE_BYTES(dtype), updating_);
  }
}

void ShardUpdate::finish_norm() const {
  if ((flags_ & ESP_UPDATE_NORM) != 0) sharding_.host.update.norm_finish(sharding_.group.handle, updating_);
}

// The model may still read the block's weights where it has used them last: what writes them waits for that.
void ShardUpdate::apply(const Block& block) const {
  const esp_stream compute = sharding_.host.device.compute();
  if (!offload_) {
    fence_.order(compute, updating_);
    sharding_.host.update.apply(updates_[block.index].ranges(), updating_);
    return;
  }
  fence_.order(updating_, cpu_);
  sharding_.host.update.apply(updates_[block.index].ranges(), cpu_);
  fence_.order(cpu_, upload_);
  fence_.order(compute, upload_);
  send_weights(block, upload_);
}

void ShardUpdate::send_weights(const Block& block, esp_stream stream) const {
  sharding_.host.kernels.copy(weights_.own(block), staged_weights(block),
                              sharding_.partition.size(block) * ESP_DTYPE_BYTES(sharding_.compute_t), stream);
}

void ShardUpdate::masters_loaded() const {
  if (in_place_) return;
  const auto& kernels = sharding_.host.kernels;
  const esp_stream compute = sharding_.host.device.compute();
  if (host_weights_) {
    kernels.convert(host_weights_.data(), sharding_.compute_t, set_.master(0), set_.master_dtype(), set_.size(), cpu_);
  }
  if (offload_) fence_.order(cpu_, compute);
  for (const Block& block : sharding_.layout.blocks()) {
    if (!sharding_.trained(block)) break;
    if (offload_) {
      send_weights(block, compute);
    } else {
      kernels.convert(weights_.own(block), sharding_.compute_t, set_.master(sharding_.partition.at(block)),
                      set_.master_dtype(), sharding_.partition.size(block), compute);
    }
  }
}

void ShardUpdate::list_state(const esp::kit::StateEmitter& emitter, const Block& block) const {
  for (const Piece& piece : sharding_.partition.own(block)) {
    emitter.owned(piece.param, piece.offset, piece.offset + piece.n, master(block, piece), set_, in_set(block, piece));
  }
}

void* ShardUpdate::in_part(void* part, const Block& block, const Piece& piece, esp_dtype dtype) const {
  return element(part, piece.at - sharding_.partition.begin(block), dtype);
}

uint64_t ShardUpdate::in_set(const Block& block, const Piece& piece) const {
  return sharding_.partition.at(block) + piece.at - sharding_.partition.begin(block);
}

void* ShardUpdate::master(const Block& block, const Piece& piece) const {
  return in_place_ ? in_part(weights_.own(block), block, piece, set_.master_dtype())
                   : set_.master(in_set(block, piece));
}

void* ShardUpdate::staged_weights(const Block& block) const {
  const uint64_t at = sharding_.partition.at(block);
  return host_weights_ ? host_weights_.at(at, sharding_.compute_t) : set_.master(at);
}

}  // namespace zero
