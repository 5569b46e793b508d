// What all parts of the strategy know: who owns what.
#pragma once

#include <espalier/kit/block_schedule.hpp>
#include <espalier/kit/fence.hpp>
#include <espalier/strategy.hpp>

namespace zero {

// Fixed from prepare on. The layout's first `n_trained` blocks are trained, the others never change.
struct Sharding {
  const esp::Host& host;
  const esp::Group group;
  const esp::kit::Partition partition;
  esp::kit::Layout layout;
  uint32_t n_trained = 0;
  esp::kit::Windows windows;
  esp_dtype compute_t = 0;  // of weights and of the gradients that the model writes

  bool alone() const { return group.size == 1; }
  bool trained(const esp::kit::Block& block) const { return block.index < n_trained; }
  // Elements of the whole arena up to where the trained blocks end.
  uint64_t trained_size() const { return n_trained == 0 ? 0 : layout.blocks()[n_trained - 1].end; }
  uint64_t trained_part() const { return trained_size() / static_cast<uint64_t>(group.size); }
};

}  // namespace zero
