// LibTorch's threads for element-wise work, without its headers.
#pragma once

#include <cstdint>
#include <functional>

namespace esp::runtime {

// Of the process: LibTorch's intra-op threads.
void set_parallel_threads(int32_t threads);

// Calls body(lo, hi) for disjoint parts that cover [0, n); at most one call on this thread alone when n <= grain or
// threads is 1. body must give the same result however the range is cut.
void parallel_for(int32_t threads, uint64_t n, uint64_t grain, const std::function<void(uint64_t, uint64_t)>& body);

}  // namespace esp::runtime
