// The entry of libespalier_cuda.so.
#include <cuda_runtime_api.h>

#include <cstdio>

#include "runtime/cuda/cuda_api.hpp"
#include "runtime/cuda/cuda_check.hpp"
#include "runtime/cuda/cuda_device.hpp"
#include "runtime/cuda/nccl_communicator.hpp"

namespace esp::runtime {
namespace {

class Cuda final : public CudaApi {
 public:
  int32_t device_count() override {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess && count > 0) return count;
    cudaGetLastError();
    throw Error(ExitCode::kResource,
                std::string("no GPU can be used: ") +
                    (status == cudaSuccess ? "the driver shows none" : cudaGetErrorString(status)) +
                    "; check nvidia-smi and CUDA_VISIBLE_DEVICES, or set run.device = \"cpu\"");
  }

  std::unique_ptr<Device> make_device(int32_t index, int32_t cpu_threads) override {
    return std::make_unique<CudaDevice>(index, cpu_threads);
  }

  std::string identity(int32_t index) override {
    cudaDeviceProp facts{};
    check_cuda(cudaGetDeviceProperties(&facts, index), "asking for the identity of GPU " + std::to_string(index));
    std::string text;
    for (const char byte : facts.uuid.bytes) {
      char hex[3];
      std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
      text += hex;
    }
    return text;
  }

  std::unique_ptr<Communicator> make_nccl(Device& device, ControlGroup& control, double timeout_s,
                                          int32_t most_blocks) override {
    return nccl_communicator(static_cast<CudaDevice&>(device), control, {timeout_s, most_blocks});
  }
};

}  // namespace
}  // namespace esp::runtime

extern "C" __attribute__((visibility("default"))) esp::runtime::CudaApi* espalier_cuda_api(uint32_t version) {
  static esp::runtime::Cuda cuda;
  return version == esp::runtime::kCudaApiVersion ? &cuda : nullptr;
}
