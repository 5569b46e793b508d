#include "runtime/cuda/cuda_kernels.hpp"

#include <cstddef>
#include <vector>

#include "runtime/cuda/cuda_check.hpp"
#include "runtime/cuda/cuda_device.hpp"

namespace esp::runtime {

CudaKernels::CudaKernels(CudaDevice& device) : device_(device), cpu_(device) {
  gpu::check_architecture();
  check_cuda(cudaStreamCreateWithFlags(&helper_, cudaStreamNonBlocking), "creating a stream");
  void* memory = nullptr;
  check_cuda(cudaHostAlloc(&memory, sizeof(UpdateBlock), cudaHostAllocPortable), "allocating pinned memory");
  mirror_ = new (memory) UpdateBlock{};
  scratch_ = gpu::make_scratch(kMaxStreams);
}

CudaKernels::~CudaKernels() {
  cudaStreamDestroy(helper_);
  cudaFreeHost(mirror_);
  gpu::free_scratch(scratch_);
  for (const auto& [index, sums] : tile_sums_) cudaFree(sums);
}

template <class Launch>
void CudaKernels::on_gpu_stream(Stream& stream, Launch launch) {
  if (on_gpu(stream)) return launch(raw(stream));
  device_.enqueue(stream, [this, launch] {
    launch(helper_);
    check_cuda(cudaStreamSynchronize(helper_), "waiting for the GPU");
  });
}

void CudaKernels::copy(Stream& stream, void* dst, const void* src, uint64_t bytes) {
  if (bytes == 0) return;
  const auto pinned = [&](const void* pointer) { return device_.memory().find(pointer, bytes).place == ESP_PINNED; };
  if (!on_gpu(stream) && pinned(dst) && pinned(src)) return cpu_.copy(stream, dst, src, bytes);
  on_gpu_stream(stream, [=](cudaStream_t on) {
    check_cuda(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, on), "copying " + std::to_string(bytes) + " bytes");
  });
}

void CudaKernels::zero(Stream& stream, void* dst, uint64_t bytes) {
  if (bytes == 0) return;
  if (!on_gpu(stream)) return cpu_.zero(stream, dst, bytes);
  check_cuda(cudaMemsetAsync(dst, 0, bytes, raw(stream)), "zeroing " + std::to_string(bytes) + " bytes");
}

void CudaKernels::convert(Stream& stream, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n) {
  if (n == 0) return;
  if (dst_t == src_t) return copy(stream, dst, src, n * ESP_DTYPE_BYTES(dst_t));
  if (!on_gpu(stream)) return cpu_.convert(stream, dst, dst_t, src, src_t, n);
  gpu::convert(raw(stream), dst, dst_t, src, src_t, n);
}

void CudaKernels::axpby(Stream& stream, uint64_t n, float a, const float* pa, const void* x, esp_dtype x_t, float b,
                        const float* pb, void* y, esp_dtype y_t) {
  if (n == 0) return;
  if (!on_gpu(stream)) return cpu_.axpby(stream, n, a, pa, x, x_t, b, pb, y, y_t);
  gpu::axpby(raw(stream), n, {a, pa}, x, x_t, {b, pb}, y, y_t);
}

void CudaKernels::sum_sq(Stream& stream, const void* x, uint64_t n, esp_dtype x_t, float* add_to) {
  if (n == 0) return;
  if (!on_gpu(stream)) return cpu_.sum_sq(stream, x, n, x_t, add_to);
  const NormPiece piece{x, n, x_t};
  gpu::add_squares(raw(stream), scratch_, stream.index(), &piece, 1, add_to);
}

void CudaKernels::scalars(Stream& stream, std::span<const esp_sop> ops, std::span<float* const> regs) {
  if (!on_gpu(stream)) return cpu_.scalars(stream, ops, regs);
  gpu::scalars(raw(stream), ops.data(), static_cast<uint32_t>(ops.size()), regs.data(),
               static_cast<uint32_t>(regs.size()));
}

// The numbers alone: what CPU queues have added to the mirror's partial sums stays.
void CudaKernels::refresh_mirror(cudaStream_t stream, const UpdateBlock* block) {
  if (!device_.has_cpu_streams()) return;
  check_cuda(cudaMemcpyAsync(mirror_, block, offsetof(UpdateBlock, partial), cudaMemcpyDeviceToHost, stream),
             "copying the update's numbers");
}

UpdateBlock* CudaKernels::mirror_if_used() const { return device_.has_cpu_streams() ? mirror_ : nullptr; }

void CudaKernels::begin_update(Stream& stream, UpdateBlock* block, const UpdateRules& rules,
                               const UpdateInputs& inputs) {
  on_gpu_stream(stream, [=, this](cudaStream_t on) {
    gpu::begin_update(on, block, mirror_if_used(), rules, inputs);
    refresh_mirror(on, block);
  });
}

void CudaKernels::add_sum_sq(Stream& stream, std::span<const NormPiece> pieces, double* add_to) {
  if (!on_gpu(stream)) return cpu_.add_sum_sq(stream, pieces, &mirror_->partial[stream.index()]);
  gpu::add_squares(raw(stream), scratch_, stream.index(), pieces.data(), static_cast<uint32_t>(pieces.size()), add_to);
}

void CudaKernels::sum_partials(Stream& stream, UpdateBlock* block) {
  on_gpu_stream(stream, [=, this](cudaStream_t on) { gpu::sum_partials(on, block, mirror_if_used()); });
}

void CudaKernels::finish_norm(Stream& stream, UpdateBlock* block, const UpdateRules& rules, bool sums) {
  on_gpu_stream(stream, [=, this](cudaStream_t on) {
    if (sums) {
      gpu::sum_and_finish_norm(on, block, mirror_if_used(), rules);
    } else {
      gpu::finish_norm(on, block, rules);
    }
    refresh_mirror(on, block);
  });
}

void CudaKernels::apply(Stream& stream, const UpdateBlock* block, const UpdateRules& rules,
                        std::span<const UpdateRange> ranges, double* add_to) {
  if (!on_gpu(stream)) {
    double* of_mirror = add_to == nullptr ? nullptr : &mirror_->partial[stream.index()];
    return cpu_.apply(stream, mirror_, rules, ranges, of_mirror);
  }
  const auto n = static_cast<uint32_t>(ranges.size());
  double* sums = add_to == nullptr ? nullptr : tile_sums(stream);
  if (sums != nullptr) {
    return gpu::apply_adding_squares(raw(stream), block, rules, ranges.data(), n, sums, add_to);
  }
  if (add_to != nullptr) {
    std::vector<NormPiece> pieces;
    for (const UpdateRange& range : ranges) pieces.push_back({range.grad, range.n, range.grad_t});
    add_sum_sq(stream, pieces, add_to);
  }
  gpu::apply(raw(stream), block, rules, ranges.data(), n);
}

// Made when the stream first needs it, which is before the step is captured. NULL: too late for that.
double* CudaKernels::tile_sums(const Stream& stream) {
  double*& sums = tile_sums_[stream.index()];
  if (sums != nullptr) return sums;
  cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(raw(stream), &capturing), "asking whether a stream is captured");
  if (capturing != cudaStreamCaptureStatusNone) return nullptr;
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, gpu::kTileSums * sizeof(double)), "allocating scratch memory");
  sums = static_cast<double*>(memory);
  return sums;
}

void CudaKernels::end_update(Stream& stream, UpdateBlock* block, const UpdateRules& rules, UpdateResult* pinned) {
  on_gpu_stream(stream, [=](cudaStream_t on) { gpu::end_update(on, block, rules, pinned); });
}

}  // namespace esp::runtime
