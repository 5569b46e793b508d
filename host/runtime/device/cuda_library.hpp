// Loads libespalier_cuda.so, and LibTorch's CUDA part before it, when a GPU is asked for.
#pragma once

#include "runtime/cuda/cuda_api.hpp"

namespace esp::runtime {

// A second call gives the same object, which lives until the process ends. [main] Throws Error(kResource) in one line:
// no driver, no such library in this installation, LibTorch without its CUDA part or without what that needs.
CudaApi& load_cuda();

}  // namespace esp::runtime
