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

  void* home(const Block& chunk) const;
  void* homes(Tier tier) const;  // the first home of a tier

 private:
  void bind_homes(const esp::Binder& binder) const;
  void fetch(const Block& chunk, void* destination, esp_stream stream) const;

  const Chunks& chunks_;
  std::array<esp::Buffer, kTiers.size()> homes_;
  std::optional<esp::kit::ParamCache> gathered_;  // absent when all chunks are used at home
};

}  // namespace gemini
