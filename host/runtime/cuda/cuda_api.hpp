// Between libespalier_runtime.so and libespalier_cuda.so, which is loaded only when a GPU is asked for. Both come from
// one build, so C++ types may cross; plugins never see it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/control_group.hpp"
#include "runtime/device/device.hpp"

namespace esp::runtime {

class CudaApi {
 public:
  virtual ~CudaApi() = default;

  // GPUs that this process may use (CUDA_VISIBLE_DEVICES applied). Throws Error(kResource) in one line when there is no
  // driver, it is too old, or no GPU.
  virtual int32_t device_count() = 0;

  // index < device_count(). cpu_threads: of work on CPU streams together (CPU Adam). Makes `compute` LibTorch's current
  // stream of the calling thread. Throws Error(kResource) where the library has no code for the GPU's architecture.
  virtual std::unique_ptr<Device> make_device(int32_t index, int32_t cpu_threads) = 0;

  // Names the physical GPU, the same from every process of a machine and different between machines.
  virtual std::string identity(int32_t index) = 0;

  // NCCL over all ranks of `control`, each on a GPU of its own; blocks until all are there. device: from make_device.
  virtual std::unique_ptr<Communicator> make_nccl(Device& device, ControlGroup& control, double timeout_s,
                                                  int32_t most_blocks) = 0;
};

// The library's only exported symbol.
inline constexpr uint32_t kCudaApiVersion = 2;
inline constexpr const char* kCudaApiSymbol = "espalier_cuda_api";
using CudaApiFactory = CudaApi* (*)(uint32_t version);  // static storage, or NULL when the version differs

}  // namespace esp::runtime
