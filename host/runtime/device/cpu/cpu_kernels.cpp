#include "runtime/device/cpu/cpu_kernels.hpp"

#include <cmath>
#include <cstring>
#include <vector>

#include "runtime/device/cpu/blocks.hpp"
#include "runtime/device/cpu/cpu_stream.hpp"
#include "runtime/device/cpu/parallel.hpp"
#include "runtime/device/cpu/sum_squares.hpp"
#include "runtime/device/device.hpp"
#include "runtime/device/scalar_op.hpp"

namespace esp::runtime {
namespace {

constexpr uint64_t kGrainElements = 64 * kBlock;
constexpr uint64_t kGrainBytes = 1u << 20;

template <class T>
void convert_part(void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t lo, uint64_t hi) {
  T buffer[kBlock];
  for_blocks(lo, hi, [&](uint64_t first, uint64_t count) {
    store_block(read_block(at(src, src_t, first), src_t, count, buffer), count, at(dst, dst_t, first), dst_t);
  });
}

struct Axpby {
  const void* x;
  void* y;
  esp_dtype x_t, y_t;
  double a, b;
  bool reads_y;
};

template <class T>
void axpby_part(const Axpby& job, uint64_t lo, uint64_t hi) {
  T x_buffer[kBlock], y_buffer[kBlock], out[kBlock];
  for_blocks(lo, hi, [&](uint64_t first, uint64_t count) {
    const T* x = read_block(at(job.x, job.x_t, first), job.x_t, count, x_buffer);
    void* target = at(job.y, job.y_t, first);
    T* result = job.y_t == kDtypeOf<T> ? static_cast<T*>(target) : out;
    if (job.reads_y) {
      const T* y = read_block<T>(target, job.y_t, count, y_buffer);
      loops::scale_add(count, static_cast<T>(job.a), x, static_cast<T>(job.b), y, result);
    } else {
      loops::scale(count, static_cast<T>(job.a), x, result);
    }
    if (result == out) store_block(out, count, target, job.y_t);
  });
}

// a * (*p) in the precision of the arithmetic, which both float and double hold exactly afterwards.
double factor(float a, const float* p, bool in_double) {
  if (p == nullptr) return a;
  return in_double ? static_cast<double>(a) * static_cast<double>(*p) : static_cast<double>(a * *p);
}

}  // namespace

void CpuKernels::copy(Stream& stream, void* dst, const void* src, uint64_t bytes) {
  if (bytes == 0) return;
  device_.enqueue(stream, [=, threads = threads_of(stream)] {
    parallel_for(threads, bytes, kGrainBytes, [=](uint64_t lo, uint64_t hi) {
      std::memcpy(static_cast<char*>(dst) + lo, static_cast<const char*>(src) + lo, hi - lo);
    });
  });
}

void CpuKernels::zero(Stream& stream, void* dst, uint64_t bytes) {
  if (bytes == 0) return;
  device_.enqueue(stream, [=, threads = threads_of(stream)] {
    parallel_for(threads, bytes, kGrainBytes,
                 [=](uint64_t lo, uint64_t hi) { std::memset(static_cast<char*>(dst) + lo, 0, hi - lo); });
  });
}

void CpuKernels::convert(Stream& stream, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n) {
  if (n == 0) return;
  if (dst_t == src_t) return copy(stream, dst, src, n * bytes_of(dst_t));
  device_.enqueue(stream, [=, threads = threads_of(stream)] {
    const bool in_double = src_t == ESP_F64;
    parallel_for(threads, n, kGrainElements, [=](uint64_t lo, uint64_t hi) {
      in_double ? convert_part<double>(dst, dst_t, src, src_t, lo, hi)
                : convert_part<float>(dst, dst_t, src, src_t, lo, hi);
    });
  });
}

void CpuKernels::axpby(Stream& stream, uint64_t n, float a, const float* pa, const void* x, esp_dtype x_t, float b,
                       const float* pb, void* y, esp_dtype y_t) {
  if (n == 0) return;
  device_.enqueue(stream, [=, threads = threads_of(stream)] {
    const bool in_double = x_t == ESP_F64 || y_t == ESP_F64;
    Axpby job{x, y, x_t, y_t, factor(a, pa, in_double), 0, b != 0};
    if (job.reads_y) job.b = factor(b, pb, in_double);
    parallel_for(threads, n, kGrainElements, [=, &job](uint64_t lo, uint64_t hi) {
      in_double ? axpby_part<double>(job, lo, hi) : axpby_part<float>(job, lo, hi);
    });
  });
}

void CpuKernels::sum_sq(Stream& stream, const void* x, uint64_t n, esp_dtype x_t, float* add_to) {
  if (n == 0) return;
  device_.enqueue(stream, [=, threads = threads_of(stream)] {
    *add_to = static_cast<float>(*add_to + sum_squares(threads, x, n, x_t));
  });
}

void CpuKernels::scalars(Stream& stream, std::span<const esp_sop> ops, std::span<float* const> regs) {
  device_.enqueue(stream, [ops = std::vector<esp_sop>(ops.begin(), ops.end()),
                           regs = std::vector<float*>(regs.begin(), regs.end())] {
    for (const esp_sop& op : ops) {
      const float b = op.b == ESP_SOP_IMM ? op.imm : *regs[op.b];
      *regs[op.dst] = scalar_op(op, *regs[op.dst], *regs[op.a], b);
    }
  });
}

}  // namespace esp::runtime
