// The weights that the model computes with: at home, or gathered around their use.
#pragma once

#include <espalier/kit/param_cache.hpp>
#include <optional>

#include "chunks.hpp"

namespace gemini {

class Weights {
 public:
  // slots: for gathered chunks. The chunks outlive this.
  Weights(const Chunks& chunks, const esp::Binder& binder, bool prefetch, uint32_t slots);

  void begin_step(const esp_step& step);
  void before(const esp_step& step);  // in pre_*

  void* home(const Block& chunk) const { return homes_[chunk.index].data(); }

  // In adapt, in this order: gives the slots back; brings a home to where the chunk's tier says, the values with it;
  // gathers again, with other slots.
  void release_slots() { gathered_.reset(); }
  void move_home(const Block& chunk, Tier from);
  void gather(uint32_t slots);

 private:
  esp::Buffer new_home(const Block& chunk) const;
  void bind_homes() const;
  void fetch(const Block& chunk, void* destination, esp_stream stream) const;

  const Chunks& chunks_;
  const esp::Binder binder_;
  const bool prefetch_;
  esp_stream fetching_ = nullptr;                 // made with the first slots
  std::vector<esp::Buffer> homes_;                // [chunks]
  std::optional<esp::kit::ParamCache> gathered_;  // absent when all chunks are used at home
};

}  // namespace gemini
