#include "runtime/cuda/cuda_memory.hpp"

#include <cuda_runtime_api.h>

#include <cstring>

namespace esp::runtime {

void* CudaMemory::allocate(uint32_t place, uint64_t bytes) {
  void* memory = nullptr;
  if (place == ESP_PINNED) {
    if (cudaHostAlloc(&memory, bytes, cudaHostAllocPortable) != cudaSuccess) {
      cudaGetLastError();
      return nullptr;
    }
    std::memset(memory, 0, bytes);
    return memory;
  }
  if (cudaMalloc(&memory, bytes) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  if (cudaMemset(memory, 0, bytes) != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess) {
    cudaGetLastError();
    cudaFree(memory);
    return nullptr;
  }
  return memory;
}

void CudaMemory::release(uint32_t place, void* memory, uint64_t /*bytes*/) {
  place == ESP_PINNED ? cudaFreeHost(memory) : cudaFree(memory);
}

}  // namespace esp::runtime
