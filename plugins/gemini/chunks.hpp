// What all parts of the strategy know: the chunks and where they live.
#pragma once

#include <espalier/kit/sharding.hpp>
#include <vector>

namespace gemini {

using esp::kit::Block;

// Where a chunk's home (this rank's part of its weights) is, and where its masters and optimizer state are: with the
// home on the device; in host memory, the home on the device; all in host memory.
enum class Tier : uint32_t { kDevice, kCpuUpdate, kHost };
inline uint32_t home_place(Tier tier) { return tier == Tier::kHost ? ESP_PINNED : ESP_DEVICE; }
inline uint32_t update_place(Tier tier) { return tier == Tier::kDevice ? ESP_DEVICE : ESP_PINNED; }

// A chunk is a block of the layout: the parameters of one unit, or those that the same units share. The first
// `n_trained` chunks are trained, the others never change. Fixed from prepare on.
struct Chunks : esp::kit::Sharding {
  using esp::kit::Sharding::Sharding;

  esp::kit::BlockUses train, eval;  // by position
  std::vector<Tier> tiers;          // [chunks]

  Tier tier(const Block& chunk) const { return tiers[chunk.index]; }
  uint64_t part(const Block& chunk) const { return partition.size(chunk); }
  // The model computes with the home itself.
  bool used_at_home(uint32_t chunk) const { return alone() && home_place(tiers[chunk]) == ESP_DEVICE; }

  // Half gradients of several micro-batches are added up in fp32.
  esp_dtype sum_dtype() const { return several_windows() && ESP_DTYPE_BYTES(compute_t) < 4 ? ESP_F32 : compute_t; }
  bool several_windows() const {
    for (uint32_t chunk = 0; chunk < n_trained; ++chunk) {
      if (windows.count(chunk) > 1) return true;
    }
    return false;
  }
  // Whether the model writes the gradient to where it is summed.
  bool summed_in_place(uint32_t chunk) const {
    return alone() && tiers[chunk] == Tier::kDevice && windows.count(chunk) <= 1 && sum_dtype() == compute_t;
  }
  bool needs_gradient_slot(uint32_t chunk) const { return windows.count(chunk) > 0 && !summed_in_place(chunk); }

  // The optimizer works on the home itself.
  bool masters_at_home(Tier tier) const {
    return home_place(tier) == update_place(tier) && host.update.desc().master == compute_t;
  }
};

}  // namespace gemini
