// The kernels of a CudaDevice: on the GPU's streams as CUDA kernels, on queues of the CPU as those of the CPU device.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <span>

#include "runtime/cuda/device_kernels.hpp"
#include "runtime/device/cpu/cpu_kernels.hpp"
#include "runtime/device/kernels.hpp"

namespace esp::runtime {

class CudaDevice;

// Work on a CPU queue reads the update's numbers from a mirror in pinned memory, which is written whenever they change,
// and leaves its sums of squares there. One update at a time.
class CudaKernels final : public Kernels {
 public:
  explicit CudaKernels(CudaDevice& device);
  ~CudaKernels() override;

  void copy(Stream& stream, void* dst, const void* src, uint64_t bytes) override;
  void zero(Stream& stream, void* dst, uint64_t bytes) override;
  void convert(Stream& stream, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n) override;
  void axpby(Stream& stream, uint64_t n, float a, const float* pa, const void* x, esp_dtype x_t, float b,
             const float* pb, void* y, esp_dtype y_t) override;
  void sum_sq(Stream& stream, const void* x, uint64_t n, esp_dtype x_t, float* add_to) override;
  void scalars(Stream& stream, std::span<const esp_sop> ops, std::span<float* const> regs) override;

  void begin_update(Stream& stream, UpdateBlock* block, const UpdateRules& rules, const UpdateInputs& inputs) override;
  void add_sum_sq(Stream& stream, std::span<const NormPiece> pieces, double* add_to) override;
  void sum_partials(Stream& stream, UpdateBlock* block) override;
  void finish_norm(Stream& stream, UpdateBlock* block, const UpdateRules& rules, bool sums) override;
  void apply(Stream& stream, const UpdateBlock* block, const UpdateRules& rules, std::span<const UpdateRange> ranges,
             double* add_to) override;
  void end_update(Stream& stream, UpdateBlock* block, const UpdateRules& rules, UpdateResult* pinned) override;

 private:
  // Runs launch(stream) on a stream of the GPU: `stream` itself, or for a CPU queue a private one that the queue waits
  // for.
  template <class Launch>
  void on_gpu_stream(Stream& stream, Launch launch);
  void refresh_mirror(cudaStream_t stream, const UpdateBlock* block);
  UpdateBlock* mirror_if_used() const;
  double* tile_sums(const Stream& stream);

  CudaDevice& device_;
  CpuKernels cpu_;
  cudaStream_t helper_ = nullptr;          // for what a CPU queue needs from the GPU
  gpu::SquareScratch scratch_{};           // by stream index
  std::map<uint32_t, double*> tile_sums_;  // by stream index, of those that have needed some
  UpdateBlock* mirror_ = nullptr;          // pinned
};

}  // namespace esp::runtime
