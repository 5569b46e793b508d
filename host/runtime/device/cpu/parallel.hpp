// Threads for element-wise work.
#pragma once

#include <cstdint>
#include <functional>

namespace esp::runtime {

// LibTorch's intra-op threads, of the process. parallel_for has threads of its own.
void set_parallel_threads(int32_t threads);

// Calls body(lo, hi) for disjoint parts of about `grain` that cover [0, n), on at most `threads` threads; one call, on
// this thread, when n <= grain or threads is 1. body must give the same result however the range is cut.
void parallel_for(int32_t threads, uint64_t n, uint64_t grain, const std::function<void(uint64_t, uint64_t)>& body);

}  // namespace esp::runtime
