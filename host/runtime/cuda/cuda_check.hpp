// Calls of the CUDA runtime whose failure is an Error.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "error.hpp"

namespace esp::runtime {

// what: e.g. "allocating 12 MiB on the GPU".
inline void check_cuda(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // what is not sticky must not meet the next call
  throw Error(ExitCode::kResource,
              what + " failed: " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

}  // namespace esp::runtime
