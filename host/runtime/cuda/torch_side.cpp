#include "runtime/cuda/torch_side.hpp"

#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

namespace esp::runtime::torch_side {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

// Graphs run one after the other on one stream and nothing of a step survives it, so they may share one pool. The
// number only has to differ from those LibTorch gives itself, which start at 1.
constexpr c10::MempoolId_t kPool{0, 1u << 30};

constexpr auto kAggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

c10::DeviceIndex index_of(int device) { return static_cast<c10::DeviceIndex>(device); }

}  // namespace

void use_stream(int device, cudaStream_t stream) {
  at::globalContext().lazyInitDevice(at::kCUDA);
  c10::cuda::set_device(index_of(device));
  c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromExternal(stream, index_of(device)));
}

void begin_capture(int device) {
  allocator::emptyCache();  // what the steps before kept is not used again
  allocator::beginAllocateToPool(index_of(device), kPool, [](cudaStream_t stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusActive;
  });
}

void end_capture(int device) { allocator::endAllocateToPool(index_of(device), kPool); }

ForeignMemory memory(int device) {
  const auto stats = allocator::getDeviceStats(index_of(device));
  ForeignMemory memory;
  memory.torch_allocated_peak = static_cast<uint64_t>(stats.allocated_bytes[kAggregate].peak);
  return memory;
}

}  // namespace esp::runtime::torch_side
