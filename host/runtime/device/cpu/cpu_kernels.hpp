// The kernels as items of CPU queues.
#pragma once

#include <span>

#include "runtime/device/kernels.hpp"

namespace esp::runtime {

class Device;

class CpuKernels final : public Kernels {
 public:
  explicit CpuKernels(Device& device) : device_(device) {}

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
  Device& device_;
};

}  // namespace esp::runtime
