// What the host computes itself, on whichever device: the kernels behind esp.kernels and esp.update. Every call
// enqueues on the stream and returns. Pointers were checked by the caller. Arithmetic is fp32 (fp64 when an operand is
// F64), rounded once, and independent of the number of threads, bit for bit.
#pragma once

#include <espalier/host.h>

#include <cstdint>
#include <span>

#include "runtime/device/update_block.hpp"

namespace esp::runtime {

class Stream;

class Kernels {
 public:
  virtual ~Kernels() = default;

  virtual void copy(Stream& stream, void* dst, const void* src, uint64_t bytes) = 0;  // any place to any place
  virtual void zero(Stream& stream, void* dst, uint64_t bytes) = 0;
  virtual void convert(Stream& stream, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n) = 0;
  // y = a * (*pa) * x + b * (*pb) * y; b == 0 never reads y; pa, pb: device scalars or NULL = 1.
  virtual void axpby(Stream& stream, uint64_t n, float a, const float* pa, const void* x, esp_dtype x_t, float b,
                     const float* pb, void* y, esp_dtype y_t) = 0;
  virtual void sum_sq(Stream& stream, const void* x, uint64_t n, esp_dtype x_t, float* add_to) = 0;
  virtual void scalars(Stream& stream, std::span<const esp_sop> ops, std::span<float* const> regs) = 0;

  // Behind esp.update; the block is device memory.
  virtual void begin_update(Stream& stream, UpdateBlock* block, const UpdateRules& rules,
                            const UpdateInputs& inputs) = 0;
  virtual void add_sum_sq(Stream& stream, std::span<const NormPiece> pieces, double* add_to) = 0;
  virtual void sum_partials(Stream& stream, UpdateBlock* block) = 0;  // block->sum = all partials, which become 0
  // sums: sum_partials comes first.
  virtual void finish_norm(Stream& stream, UpdateBlock* block, const UpdateRules& rules, bool sums) = 0;
  // add_to: NULL, or the sum of squares of the ranges' gradients is added to it, as add_sum_sq would.
  virtual void apply(Stream& stream, const UpdateBlock* block, const UpdateRules& rules,
                     std::span<const UpdateRange> ranges, double* add_to) = 0;
  virtual void end_update(Stream& stream, UpdateBlock* block, const UpdateRules& rules, UpdateResult* pinned) = 0;
};

}  // namespace esp::runtime
