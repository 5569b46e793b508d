#include "runtime/device/cpu/sum_squares.hpp"

#include <vector>

#include "runtime/device/cpu/blocks.hpp"
#include "runtime/device/cpu/parallel.hpp"

namespace esp::runtime {
namespace {

constexpr uint64_t kChunk = 64 * kBlock;  // elements; each chunk is summed by itself, then chunks in order

template <class T>
double chunk_sum(const void* x, esp_dtype dtype, uint64_t lo, uint64_t hi) {
  double lanes[loops::kLanes] = {};
  T buffer[kBlock];
  for_blocks(lo, hi, [&](uint64_t first, uint64_t count) {
    loops::add_squares(count, read_block(at(x, dtype, first), dtype, count, buffer), lanes);
  });
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

double sum_squares(int32_t threads, const void* x, uint64_t n, esp_dtype dtype) {
  const uint64_t n_chunks = (n + kChunk - 1) / kChunk;
  std::vector<double> sums(n_chunks);
  parallel_for(threads, n_chunks, 1, [&](uint64_t from, uint64_t to) {
    for (uint64_t chunk = from; chunk < to; ++chunk) {
      const uint64_t lo = chunk * kChunk;
      const uint64_t hi = std::min(n, lo + kChunk);
      sums[chunk] = dtype == ESP_F64 ? chunk_sum<double>(x, dtype, lo, hi) : chunk_sum<float>(x, dtype, lo, hi);
    }
  });
  double sum = 0;
  for (double part : sums) sum += part;
  return sum;
}

}  // namespace esp::runtime
