// The codec's kernels: one thread a group, on the stream that is given. A launch that fails is reported by throwing.
#include <cuda_runtime.h>

#include <espalier/failure.hpp>

#include "int8_codec.hpp"

namespace {

constexpr unsigned kThreads = 128;

template <class Job, void (*Run)(const Job&, uint64_t)>
__global__ void each_group(Job job) {
  const uint64_t group = uint64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (group < (job.n + kGroup - 1) / kGroup) Run(job, group);
}

template <class Job, void (*Run)(const Job&, uint64_t)>
void launch(const Job& job, void* stream) {
  const auto blocks = static_cast<unsigned>((groups_of(job.n) + kThreads - 1) / kThreads);
  if (blocks == 0) return;
  each_group<Job, Run><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(job);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) esp::fail(ESP_E_DEVICE, "launching the codec: ", cudaGetErrorString(error));
}

}  // namespace

void encode_on_gpu(const Encode& job, void* stream) { launch<Encode, encode_group>(job, stream); }
void decode_on_gpu(const Decode& job, void* stream) { launch<Decode, decode_group>(job, stream); }
