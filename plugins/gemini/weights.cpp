#include "weights.hpp"

#include <espalier/kit/shard_set.hpp>

#include "placement.hpp"

namespace gemini {

using esp::kit::element;

Weights::Weights(const Chunks& chunks, const esp::Binder& binder, bool prefetch, uint32_t slots) : chunks_(chunks) {
  for (Tier tier : kTiers) {
    const uint64_t bytes = chunks.size(tier) * ESP_DTYPE_BYTES(chunks.compute_t);
    homes_[static_cast<size_t>(tier)] = home_place(tier) == ESP_DEVICE
                                            ? chunks.host.memory.device(bytes, ESP_TAG_PARAM, ESP_MEM_COMM)
                                            : chunks.host.memory.pinned(bytes, ESP_TAG_PARAM);
  }
  bind_homes(binder);
  if (slots == 0) return;
  esp::kit::ParamCache::Settings settings;
  settings.ahead = prefetch;
  settings.slots = slots;
  gathered_.emplace(
      chunks.host, chunks.layout, fetched(chunks, chunks.train), fetched(chunks, chunks.eval), chunks.compute_t, binder,
      [this](const Block& chunk, void* destination, esp_stream stream) { fetch(chunk, destination, stream); },
      settings);
}

void Weights::begin_step(const esp_step& step) {
  if (gathered_) gathered_->begin_step(step);
}

void Weights::before(const esp_step& step) {
  if (gathered_) gathered_->before(step);
}

void* Weights::homes(Tier tier) const { return homes_[static_cast<size_t>(tier)].data(); }

void* Weights::home(const Block& chunk) const {
  return element(homes(chunks_.tier(chunk)), chunks_.at(chunk), chunks_.compute_t);
}

void Weights::bind_homes(const esp::Binder& binder) const {
  std::vector<esp_bind> binds;
  for (const Block& chunk : chunks_.layout.blocks()) {
    if (!chunks_.used_at_home(chunk.index)) continue;
    for (const esp::kit::Place& place : chunk.places) {
      void* data = element(home(chunk), place.offset - chunk.begin, chunks_.compute_t);
      binds.push_back({place.param, ESP_BIND_PARAM, data, chunks_.compute_t, 0});
    }
  }
  binder.bind({binds.data(), binds.size()});
}

// From host memory the part crosses to its own place among those of the other ranks.
void Weights::fetch(const Block& chunk, void* destination, esp_stream stream) const {
  const uint64_t part = chunks_.part(chunk);
  void* own = home(chunk);
  if (home_place(chunks_.tier(chunk)) == ESP_PINNED) {
    own = element(destination, chunks_.partition.begin(chunk) - chunk.begin, chunks_.compute_t);
    chunks_.host.kernels.copy(own, home(chunk), part * ESP_DTYPE_BYTES(chunks_.compute_t), stream);
  }
  if (!chunks_.alone()) {
    chunks_.host.comm.all_gather(chunks_.group, own, destination, part, chunks_.compute_t, stream);
  }
}

}  // namespace gemini
