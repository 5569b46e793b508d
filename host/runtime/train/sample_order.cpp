#include "runtime/train/sample_order.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace esp::runtime {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): the i-th number of a stream is a pure function of (key, i).
uint64_t mix(uint64_t key, uint64_t counter) {
  uint64_t z = key + (counter + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// [0, bound) without division; the bias is below bound / 2^64.
uint64_t below(uint64_t bound, uint64_t random) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(random) * bound) >> 64);
}

}  // namespace

std::vector<uint64_t> epoch_order(uint64_t n, uint64_t seed, uint64_t epoch, bool shuffle) {
  std::vector<uint64_t> order(n);
  std::iota(order.begin(), order.end(), uint64_t{0});
  if (!shuffle) return order;
  const uint64_t key = mix(mix(seed, 0), epoch);
  for (uint64_t i = n; i > 1; --i) std::swap(order[i - 1], order[below(i, mix(key, i))]);
  return order;
}

uint64_t BatchCut::steps_per_epoch() const {
  return drop_last ? samples / global_batch : (samples + global_batch - 1) / global_batch;
}

uint64_t BatchCut::samples_in_step(uint64_t step_of_epoch) const {
  const uint64_t first = step_of_epoch * global_batch;
  return first >= samples ? 0 : std::min(global_batch, samples - first);
}

Slice micro_slice(const BatchCut& cut, uint64_t step_of_epoch, uint64_t micro, uint64_t rank) {
  const uint64_t offset = (micro * cut.world + rank) * cut.micro_batch;
  const uint64_t in_step = cut.samples_in_step(step_of_epoch);
  if (offset >= in_step) return {step_of_epoch * cut.global_batch + in_step, 0};
  return {step_of_epoch * cut.global_batch + offset, std::min(cut.micro_batch, in_step - offset)};
}

}  // namespace esp::runtime
