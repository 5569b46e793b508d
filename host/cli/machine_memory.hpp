// How much memory this machine has left.
#pragma once

#include <cstdint>

namespace esp::cli {

// Bytes this process may still take: the machine's free memory, or what a container leaves of its limit. UINT64_MAX
// when it cannot be read.
uint64_t available_memory();

}  // namespace esp::cli
