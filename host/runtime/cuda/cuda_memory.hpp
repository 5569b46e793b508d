// Memory of a GPU, and pinned memory that it reads and writes.
#pragma once

#include <cstdint>

#include "runtime/device/memory.hpp"

namespace esp::runtime {

class CudaMemory final : public Memory {
 protected:
  void* allocate(uint32_t place, uint64_t bytes) override;
  void release(uint32_t place, void* memory, uint64_t bytes) override;
};

}  // namespace esp::runtime
