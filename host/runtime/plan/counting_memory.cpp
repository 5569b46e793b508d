#include "runtime/plan/counting_memory.hpp"

#include <sys/mman.h>

namespace esp::runtime {

void* CountingMemory::allocate(uint32_t /*place*/, uint64_t bytes) {
  const int protection = touchable_ ? PROT_READ | PROT_WRITE : PROT_NONE;
  void* memory = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

void CountingMemory::release(uint32_t /*place*/, void* memory, uint64_t bytes) { munmap(memory, bytes); }

}  // namespace esp::runtime
