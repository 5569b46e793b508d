#include "weights.hpp"

#include <espalier/kit/priority.hpp>
#include <espalier/kit/shard_set.hpp>

#include "placement.hpp"

namespace gemini {

using esp::kit::element;

Weights::Weights(const Chunks& chunks, const esp::Binder& binder, bool prefetch, uint32_t slots)
    : chunks_(chunks), binder_(binder), prefetch_(prefetch) {
  for (const Block& chunk : chunks.layout.blocks()) homes_.push_back(new_home(chunk));
  gather(slots);
}

esp::Buffer Weights::new_home(const Block& chunk) const {
  const uint64_t bytes = chunks_.part(chunk) * ESP_DTYPE_BYTES(chunks_.compute_t);
  const esp::Memory& memory = chunks_.host.memory;
  return home_place(chunks_.tier(chunk)) == ESP_DEVICE ? memory.device(bytes, ESP_TAG_PARAM, ESP_MEM_COMM)
                                                       : memory.pinned(bytes, ESP_TAG_PARAM);
}

void Weights::begin_step(const esp_step& step) {
  if (gathered_) gathered_->begin_step(step);
}

void Weights::before(const esp_step& step) {
  if (gathered_) gathered_->before(step);
}

void Weights::move_home(const Block& chunk, Tier from) {
  if (home_place(from) == home_place(chunks_.tier(chunk))) return;
  const esp_stream compute = chunks_.host.device.compute();
  esp::Buffer home = new_home(chunk);
  chunks_.host.kernels.copy(home.data(), homes_[chunk.index].data(), home.bytes(), compute);
  chunks_.host.device.sync(compute);
  homes_[chunk.index] = std::move(home);
}

void Weights::gather(uint32_t slots) {
  bind_homes();
  if (slots == 0) return;
  if (fetching_ == nullptr) fetching_ = chunks_.host.device.new_stream(ESP_STREAM_DEVICE, esp::kit::kUrgent);
  esp::kit::ParamCache::Settings settings;
  settings.ahead = prefetch_;
  settings.slots = slots;
  settings.stream = fetching_;
  gathered_.emplace(
      chunks_.host, chunks_.layout, fetched(chunks_, chunks_.train), fetched(chunks_, chunks_.eval), chunks_.compute_t,
      binder_, [this](const Block& chunk, void* destination, esp_stream stream) { fetch(chunk, destination, stream); },
      settings);
}

void Weights::bind_homes() const {
  std::vector<esp_bind> binds;
  for (const Block& chunk : chunks_.layout.blocks()) {
    if (!chunks_.used_at_home(chunk.index)) continue;
    for (const esp::kit::Place& place : chunk.places) {
      void* data = element(home(chunk), place.offset - chunk.begin, chunks_.compute_t);
      binds.push_back({place.param, ESP_BIND_PARAM, data, chunks_.compute_t, 0});
    }
  }
  binder_.bind({binds.data(), binds.size()});
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
