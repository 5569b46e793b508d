// Memory that collectives need beside what they are given.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/device/memory.hpp"

namespace esp::runtime {

// Grows, by allocation, when more is asked for than ever before: let that happen before a step is captured. Outgrown
// blocks stay, since queued work and graphs use them; all of them together are no larger than the present one.
class GrowingBuffer {
 public:
  GrowingBuffer(Memory& memory, uint32_t place) : arena_(memory, "communication"), place_(place) {}

  void* get(uint64_t bytes) {
    if (bytes > capacity_) {
      const uint64_t grown = std::max(bytes, 2 * capacity_);
      block_ = arena_.alloc(place_, grown, ESP_TAG_BUCKET);
      capacity_ = grown;
    }
    return block_;
  }

 private:
  Arena arena_;
  const uint32_t place_;
  void* block_ = nullptr;
  uint64_t capacity_ = 0;
};

}  // namespace esp::runtime
