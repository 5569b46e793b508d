#include "runtime/cuda/cuda_stream.hpp"

#include <algorithm>
#include <utility>

#include "runtime/cuda/cuda_check.hpp"

namespace esp::runtime {

CudaStream::CudaStream(uint32_t index, int32_t priority, std::string name, std::function<void(uint32_t)> retire)
    : index_(index), name_(std::move(name)), retire_(std::move(retire)) {
  int least = 0, greatest = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for stream priorities");
  check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, std::clamp<int>(priority, greatest, least)),
             "creating stream '" + name_ + "'");
}

CudaStream::~CudaStream() {
  cudaStreamSynchronize(stream_);  // a failure was reported where it was met
  cudaStreamDestroy(stream_);
  retire_(index_);
}

}  // namespace esp::runtime
