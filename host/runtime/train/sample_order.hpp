// Which samples a step trains on. The order depends on (seed, epoch) alone, so every strategy, world size and
// accumulation sees the same global step.
#pragma once

#include <cstdint>
#include <vector>

namespace esp::runtime {

// The order of one epoch: a permutation of [0, n) by Fisher-Yates on a counter-based generator, or 0..n-1 without
// shuffle.
std::vector<uint64_t> epoch_order(uint64_t n, uint64_t seed, uint64_t epoch, bool shuffle);

// How samples are cut: step k of an epoch uses positions [kG, (k+1)G) of its order, in contiguous micro-batches of B;
// micro-batch m of rank r is number m * world + r.
struct BatchCut {
  uint64_t samples = 0;       // of an epoch
  uint64_t global_batch = 0;  // G
  uint64_t micro_batch = 0;   // B
  uint64_t world = 1;
  bool drop_last = false;

  uint64_t steps_per_epoch() const;
  uint64_t samples_in_step(uint64_t step_of_epoch) const;
};

// Positions [first, first + count) in the epoch's order; count < B in a short last batch, possibly 0.
struct Slice {
  uint64_t first = 0;
  uint64_t count = 0;
};
Slice micro_slice(const BatchCut& cut, uint64_t step_of_epoch, uint64_t micro, uint64_t rank);

}  // namespace esp::runtime
