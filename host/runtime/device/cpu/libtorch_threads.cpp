#include <ATen/Parallel.h>

#include "runtime/device/cpu/parallel.hpp"

namespace esp::runtime {

void set_parallel_threads(int32_t threads) { at::set_num_threads(threads); }

}  // namespace esp::runtime
