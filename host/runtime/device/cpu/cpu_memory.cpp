#include "runtime/device/cpu/cpu_memory.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace esp::runtime {
namespace {

constexpr uint64_t kHugePage = 2u << 20;

}  // namespace

void* CpuMemory::allocate(uint32_t /*place*/, uint64_t bytes) {
  const uint64_t alignment = bytes >= kHugePage ? kHugePage : 256;
  const uint64_t size = (bytes + alignment - 1) / alignment * alignment;
  if (size < bytes) return nullptr;
  void* memory = std::aligned_alloc(alignment, size);
  if (memory == nullptr) return nullptr;
  if (alignment == kHugePage) madvise(memory, size, MADV_HUGEPAGE);  // fewer TLB misses; refusal does not matter
  std::memset(memory, 0, size);                                      // touched here, so that no step pays for it
  return memory;
}

void CpuMemory::release(uint32_t /*place*/, void* memory, uint64_t /*bytes*/) { std::free(memory); }

}  // namespace esp::runtime
