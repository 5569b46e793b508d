#include "runtime/device/cpu/parallel.hpp"

#include "runtime/device/cpu/worker_pool.hpp"

namespace esp::runtime {

void parallel_for(int32_t threads, uint64_t n, uint64_t grain, const std::function<void(uint64_t, uint64_t)>& body) {
  if (n == 0) return;
  if (threads <= 1 || n <= grain) {
    body(0, n);
    return;
  }
  WorkerPool::shared().run(threads, n, grain, body);
}

}  // namespace esp::runtime
