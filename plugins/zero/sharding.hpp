// What all parts of the strategy know: who owns what.
#pragma once

#include <espalier/kit/fence.hpp>
#include <espalier/kit/sharding.hpp>

namespace zero {

struct Sharding : esp::kit::Sharding {
  using esp::kit::Sharding::Sharding;

  // Elements of the whole arena up to where the trained blocks end.
  uint64_t trained_size() const { return n_trained == 0 ? 0 : layout.blocks()[n_trained - 1].end; }
  uint64_t trained_part() const { return trained_size() / static_cast<uint64_t>(group.size); }
};

}  // namespace zero
