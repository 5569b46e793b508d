#include "trial_memory.hpp"

#include <algorithm>
#include <bit>
#include <random>

namespace esp::vit::fused {
namespace {

constexpr size_t kMostPlaces = 16;

// Bytes of a product's matrices by how they are met.
struct Parts {
  size_t recent, old, result;

  // So many that a place has left the cache before it is met again.
  size_t places(size_t most, size_t cache) const { return std::min(most, 2 + 2 * cache / (old + result)); }
};

Parts parts_of(const MatmulShape& shape) {
  const size_t x = shape.x_bytes(), y = shape.y_bytes(), weight = shape.weight_bytes();
  if (shape.product == Product::kForward) return {x, weight + (shape.residual ? y : 0), y};
  if (shape.product == Product::kInput) return {y, weight, x};
  return {y, x, weight};
}

// Random numbers of both signs and of several magnitudes: on zeros, or on few bits, a GPU draws less power and clocks
// higher than on a model's numbers, which would favour other algorithms.
std::vector<uint16_t> numbers(size_t n, Half half) {
  const unsigned top = half == Half::kBf16 ? 0x3f00u : 0x3800u;  // [0.5, 1)
  const unsigned mantissa = half == Half::kBf16 ? 0x7fu : 0x3ffu;
  std::minstd_rand random(1);
  std::vector<uint16_t> values(n);
  for (uint16_t& value : values) {
    const auto bits = static_cast<unsigned>(random()) >> 8;
    const auto halvings = static_cast<unsigned>(std::countr_zero((bits >> 16) | 0x40u));
    value = static_cast<uint16_t>((bits & 0x8000u) | (top - halvings * (mantissa + 1)) | (bits & mantissa));
  }
  return values;
}

}  // namespace

TrialMemory::Sizes TrialMemory::sizes(const std::vector<MatmulShape>& shapes, size_t places, size_t cache) {
  Sizes all{};
  for (const MatmulShape& shape : shapes) {
    const Parts parts = parts_of(shape);
    const size_t n = parts.places(places, cache);
    all.inputs = std::max(all.inputs, parts.recent + n * parts.old);
    all.results = std::max(all.results, n * parts.result);
  }
  return all;
}

size_t TrialMemory::least_bytes(const std::vector<MatmulShape>& shapes) {
  const Sizes all = sizes(shapes, 1, 0);
  return all.inputs + all.results;
}

TrialMemory::TrialMemory(const std::vector<MatmulShape>& shapes, size_t cache, void* memory, size_t bytes)
    : memory_(static_cast<char*>(memory)), cache_(cache) {
  for (size_t places = 1; places <= kMostPlaces; ++places) {
    const Sizes all = sizes(shapes, places, cache);
    if (places > 1 && all.inputs + all.results > bytes) break;
    places_ = places;
    inputs_ = all.inputs;
  }
}

void TrialMemory::fill(Half half, cudaStream_t stream) const {
  constexpr size_t kStart = 1 << 20;
  const std::vector<uint16_t> start = numbers(std::min(inputs_, kStart) / 2, half);
  size_t done = start.size() * 2;
  check(cudaMemcpyAsync(memory_, start.data(), done, cudaMemcpyHostToDevice, stream), "filling operands");
  while (done < inputs_) {
    const size_t more = std::min(done, inputs_ - done);
    check(cudaMemcpyAsync(memory_ + done, memory_, more, cudaMemcpyDeviceToDevice, stream), "filling operands");
    done += more;
  }
  check(cudaStreamSynchronize(stream), "filling operands");
}

MatmulOperands TrialMemory::operands(const MatmulShape& shape, size_t n) const {
  const Parts parts = parts_of(shape);
  const size_t place = n % parts.places(places_, cache_);
  const char* recent = memory_;
  const char* old = memory_ + parts.recent + place * parts.old;
  const char* result = memory_ + inputs_ + place * parts.result;
  MatmulOperands operands;
  if (shape.product == Product::kForward) {
    operands.x = recent;
    operands.weight = old;
    operands.y = result;
    if (shape.residual) operands.residual = old + shape.weight_bytes();
    if (shape.bias) operands.bias = old;
  } else if (shape.product == Product::kInput) {
    operands.y = recent;
    operands.weight = old;
    operands.x = result;
  } else {
    operands.y = recent;
    operands.x = old;
    operands.weight = result;
  }
  return operands;
}

}  // namespace esp::vit::fused
