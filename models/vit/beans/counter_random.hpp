// Random numbers that are a function of a key and a counter: no state is shared, so any thread, rank or order of calls
// sees the same ones.
#pragma once

#include <cstdint>

namespace esp::vit {

// The finaliser of SplitMix64: a bijection that spreads every input bit over all output bits.
constexpr uint64_t mix_bits(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

constexpr uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t counter) {
  return mix_bits(mix_bits(mix_bits(seed) ^ stream) ^ counter);
}

// A sequence of such numbers for one stream.
class CounterRandom {
 public:
  CounterRandom(uint64_t seed, uint64_t stream) : key_(mix_bits(mix_bits(seed) ^ stream)) {}

  uint64_t bits() { return mix_bits(key_ ^ counter_++); }
  // In [0, 1).
  float unit() { return static_cast<float>(bits() >> 40) * 0x1p-24f; }
  float between(float low, float high) { return low + (high - low) * unit(); }

 private:
  uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace esp::vit
