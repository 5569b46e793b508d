#include "runtime/device/cpu/parallel.hpp"

#include <ATen/Parallel.h>

namespace esp::runtime {

void set_parallel_threads(int32_t threads) { at::set_num_threads(threads); }

void parallel_for(int32_t threads, uint64_t n, uint64_t grain, const std::function<void(uint64_t, uint64_t)>& body) {
  if (n == 0) return;
  if (threads <= 1 || n <= grain) {
    body(0, n);
    return;
  }
  at::parallel_for(0, static_cast<int64_t>(n), static_cast<int64_t>(grain),
                   [&body](int64_t lo, int64_t hi) { body(static_cast<uint64_t>(lo), static_cast<uint64_t>(hi)); });
}

}  // namespace esp::runtime
