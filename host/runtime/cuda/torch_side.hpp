// What LibTorch must be told when a GPU is used beside it: its stream, its allocator while a step is captured, its
// bytes.
#pragma once

#include <cuda_runtime_api.h>

#include "runtime/device/device.hpp"

namespace esp::runtime::torch_side {

// Initialises LibTorch's CUDA part and makes `stream` the calling thread's current one.
void use_stream(int device, cudaStream_t stream);

// Allocations on streams that are being captured come from a pool that is never given back, shared by all graphs.
void begin_capture(int device);
void end_capture(int device);

ForeignMemory memory(int device);  // without device_peak

}  // namespace esp::runtime::torch_side
