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
  chunks.for_trained([&](const Block& chunk) {
    sets_.push_back(new_set(chunk));
    outbound_.push_back(new_outbound(chunk));
  });
  relist();
}

esp::kit::ShardSet ChunkUpdate::new_set(const Block& chunk) const {
  const Tier tier = chunks_.tier(chunk);
  void* masters = chunks_.masters_at_home(tier) ? weights_.home(chunk) : nullptr;
  return {chunks_.host.memory, chunks_.host.update.desc(), chunks_.part(chunk), update_place(tier), masters, 0};
}

esp::Buffer ChunkUpdate::new_outbound(const Block& chunk) const {
  const bool masters_serve = chunks_.host.update.desc().master == chunks_.compute_t;
  if (chunks_.tier(chunk) != Tier::kCpuUpdate || masters_serve) return {};
  return chunks_.host.memory.pinned(chunks_.part(chunk) * ESP_DTYPE_BYTES(chunks_.compute_t), ESP_TAG_BUCKET);
}

// Masters that were at home left it with the home, so they are read where it is now.
void ChunkUpdate::move_optimizer(const Block& chunk, Tier from) {
  const esp::Kernels& kernels = chunks_.host.kernels;
  const esp_stream compute = chunks_.host.device.compute();
  const auto copy = [&](void* to, const void* source, esp_dtype dtype) {
    kernels.copy(to, source, chunks_.part(chunk) * ESP_DTYPE_BYTES(dtype), compute);
  };
  outbound_[chunk.index] = new_outbound(chunk);
  esp::kit::ShardSet& old = sets_[chunk.index];
  const bool same_place = update_place(from) == update_place(chunks_.tier(chunk));
  if (same_place && old.holds_masters() == !chunks_.masters_at_home(chunks_.tier(chunk))) return;
  esp::kit::ShardSet moved = new_set(chunk);
  if (moved.holds_masters()) {
    copy(moved.master(0), old.holds_masters() ? old.master(0) : weights_.home(chunk), moved.master_dtype());
  }
  for (uint32_t i = 0; i < moved.n_slots(); ++i) copy(moved.slot(i, 0), old.slot(i, 0), moved.slot_dtype(i));
  chunks_.host.device.sync(compute);
  old = std::move(moved);
}

void ChunkUpdate::relist() {
  const esp_dtype grad_t = gradients_.dtype(), out_t = chunks_.compute_t;
  const bool copies = chunks_.host.update.desc().master != out_t;
  updates_.clear();
  chunks_.for_trained([&](const Block& chunk) {
    const Tier tier = chunks_.tier(chunk);
    void* weights = home_place(tier) == update_place(tier) ? weights_.home(chunk) : outbound(chunk);
    esp::kit::UpdateList& list = updates_.emplace_back();
    for (const Piece& piece : chunks_.partition.own(chunk)) {
      const uint64_t at = in_part(piece, chunk);
      list.add(piece.param, piece.offset, piece.n, set(chunk), at, element(gradients_.sum(chunk), at, grad_t), grad_t,
               copies ? element(weights, at, out_t) : nullptr, out_t);
    }
  });
}

void ChunkUpdate::gradient_complete(const Block& chunk) {
  gradients_.finish(chunk);
  if ((flags_ & ESP_UPDATE_NORM) != 0) {
    const esp_dtype dtype = gradients_.dtype();
    for (const Piece& piece : chunks_.partition.own(chunk)) {
      const void* data = element(gradients_.sum(chunk), in_part(piece, chunk), dtype);
      chunks_.host.update.norm_add(data, piece.n, dtype, gradients_.stream(chunks_.tier(chunk)));
    }
  }
  if ((flags_ & ESP_UPDATE_BARRIER) == 0) apply(chunk);
}

void ChunkUpdate::finish(esp_stream stream) {
  if ((flags_ & ESP_UPDATE_NORM) != 0) chunks_.host.update.norm_finish(chunks_.group.handle, stream);
  if ((flags_ & ESP_UPDATE_BARRIER) == 0) return;
  chunks_.for_trained([this](const Block& chunk) { apply(chunk); });
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
  const esp::Buffer& buffer = outbound_[chunk.index];
  return buffer ? buffer.data() : set(chunk).master(0);
}

void ChunkUpdate::masters_loaded() const {
  const esp_stream compute = chunks_.host.device.compute();
  chunks_.for_trained([&](const Block& chunk) {
    const Tier tier = chunks_.tier(chunk);
    const esp::kit::ShardSet& masters = set(chunk);
    const bool elsewhere = home_place(tier) != update_place(tier);
    if (masters.holds_masters() && (!elsewhere || outbound_[chunk.index])) {
      const esp_stream stream = update_place(tier) == ESP_PINNED ? gradients_.stream(tier) : compute;
      void* weights = elsewhere ? outbound(chunk) : weights_.home(chunk);
      chunks_.host.kernels.convert(weights, chunks_.compute_t, masters.master(0), masters.master_dtype(),
                                   masters.size(), stream);
      fence_.order(stream, compute);
    }
    if (elsewhere) send_home(chunk, compute);
  });
}

void ChunkUpdate::list_state(const esp::kit::StateEmitter& emitter, const Block& chunk) const {
  for (const Piece& piece : chunks_.partition.own(chunk)) {
    emitter.owned(piece.param, piece.offset, piece.offset + piece.n, set(chunk), in_part(piece, chunk));
  }
}

}  // namespace gemini
