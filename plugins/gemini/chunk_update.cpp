#include "chunk_update.hpp"

namespace gemini {

using esp::kit::element;
using esp::kit::Piece;

ChunkUpdate::ChunkUpdate(const Chunks& chunks, const Weights& weights, Gradients& gradients)
    : chunks_(chunks),
      weights_(weights),
      gradients_(gradients),
      flags_(chunks.host.update.desc().flags),
      fence_(chunks.host.device),
      upload_(chunks.host.device.new_stream(ESP_STREAM_DEVICE)) {
  const esp_update_desc& desc = chunks.host.update.desc();
  for (Tier tier : kTiers) {
    void* masters = chunks.masters_at_home(tier) ? weights.homes(tier) : nullptr;
    sets_.emplace_back(chunks.host.memory, desc, chunks.trained_size(tier), update_place(tier), masters, 0);
  }
  if (desc.master != chunks.compute_t) {
    outbound_ = chunks.host.memory.pinned(chunks.trained_size(Tier::kCpuUpdate) * ESP_DTYPE_BYTES(chunks.compute_t),
                                          ESP_TAG_BUCKET);
  }
  list_updates();
}

void ChunkUpdate::list_updates() {
  const esp_dtype grad_t = gradients_.dtype(), out_t = chunks_.compute_t;
  const bool copies = chunks_.host.update.desc().master != out_t;
  for (const Block& chunk : chunks_.layout.blocks()) {
    if (!chunks_.trained(chunk)) break;
    const Tier tier = chunks_.tier(chunk);
    void* weights = home_place(tier) == update_place(tier) ? weights_.home(chunk) : outbound(chunk);
    esp::kit::UpdateList& list = updates_.emplace_back();
    for (const Piece& piece : chunks_.partition.own(chunk)) {
      const uint64_t in_part = piece.at - chunks_.partition.begin(chunk);
      list.add(piece.param, piece.offset, piece.n, set(tier), in_set(chunk, piece),
               element(gradients_.sum(chunk), in_part, grad_t), grad_t,
               copies ? element(weights, in_part, out_t) : nullptr, out_t);
    }
  }
}

void ChunkUpdate::gradient_complete(const Block& chunk) {
  gradients_.finish(chunk);
  if ((flags_ & ESP_UPDATE_NORM) != 0) {
    const esp_dtype dtype = gradients_.dtype();
    for (const Piece& piece : chunks_.partition.own(chunk)) {
      const void* data = element(gradients_.sum(chunk), piece.at - chunks_.partition.begin(chunk), dtype);
      chunks_.host.update.norm_add(data, piece.n, dtype, gradients_.stream(chunks_.tier(chunk)));
    }
  }
  if ((flags_ & ESP_UPDATE_BARRIER) == 0) apply(chunk);
}

void ChunkUpdate::finish(esp_stream stream) {
  if ((flags_ & ESP_UPDATE_NORM) != 0) chunks_.host.update.norm_finish(chunks_.group.handle, stream);
  if ((flags_ & ESP_UPDATE_BARRIER) == 0) return;
  for (const Block& chunk : chunks_.layout.blocks()) {
    if (chunks_.trained(chunk)) apply(chunk);
  }
}

// The model may still read the home where it has used the chunk last, be it to gather it: what writes it waits for
// that.
void ChunkUpdate::apply(const Block& chunk) {
  const Tier tier = chunks_.tier(chunk);
  const esp_stream compute = chunks_.host.device.compute(), stream = gradients_.stream(tier);
  if (home_place(tier) == update_place(tier)) fence_.order(compute, stream);
  chunks_.host.update.apply(updates_[chunk.index].ranges(), stream);
  gradients_.applied(chunk);
  if (home_place(tier) == update_place(tier)) return;
  fence_.order(stream, upload_);
  fence_.order(compute, upload_);
  send_home(chunk, upload_);
}

void ChunkUpdate::send_home(const Block& chunk, esp_stream stream) const {
  const uint64_t bytes = chunks_.part(chunk) * ESP_DTYPE_BYTES(chunks_.compute_t);
  chunks_.host.kernels.copy(weights_.home(chunk), outbound(chunk), bytes, stream);
}

void* ChunkUpdate::outbound(const Block& chunk) const {
  const uint64_t at = chunks_.at(chunk);
  return outbound_ ? outbound_.at(at, chunks_.compute_t) : set(Tier::kCpuUpdate).master(at);
}

void ChunkUpdate::masters_loaded() const {
  const esp::Kernels& kernels = chunks_.host.kernels;
  const esp_stream compute = chunks_.host.device.compute();
  for (Tier tier : kTiers) {
    const esp::kit::ShardSet& masters = set(tier);
    if (masters.size() == 0 || !masters.holds_masters()) continue;
    const bool elsewhere = home_place(tier) != update_place(tier);
    if (elsewhere && !outbound_) continue;
    const esp_stream stream = update_place(tier) == ESP_PINNED ? gradients_.stream(tier) : compute;
    kernels.convert(elsewhere ? outbound_.data() : weights_.homes(tier), chunks_.compute_t, masters.master(0),
                    masters.master_dtype(), masters.size(), stream);
    fence_.order(stream, compute);
  }
  for (const Block& chunk : chunks_.layout.blocks()) {
    if (chunks_.trained(chunk) && chunks_.tier(chunk) == Tier::kCpuUpdate) send_home(chunk, compute);
  }
}

void ChunkUpdate::list_state(const esp::kit::StateEmitter& emitter, const Block& chunk) const {
  for (const Piece& piece : chunks_.partition.own(chunk)) {
    emitter.owned(piece.param, piece.offset, piece.offset + piece.n, set(chunks_.tier(chunk)), in_set(chunk, piece));
  }
}

uint64_t ChunkUpdate::in_set(const Block& chunk, const Piece& piece) const {
  return chunks_.at(chunk) + piece.at - chunks_.partition.begin(chunk);
}

}  // namespace gemini
