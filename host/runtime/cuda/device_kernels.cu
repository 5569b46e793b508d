// esp.kernels on the GPU.
#include <algorithm>
#include <type_traits>

#include "runtime/cuda/device_kernels.hpp"
#include "runtime/cuda/element.cuh"
#include "runtime/device/scalar_op.hpp"

namespace esp::runtime::gpu {
namespace {

constexpr uint32_t kMaxParts = 512;   // blocks of one sum
constexpr uint32_t kMaxPieces = 160;  // of one launch
constexpr uint32_t kMaxOps = 32, kMaxRegs = 250;

template <class A, class B>
using Wide = std::conditional_t<std::is_same_v<A, double> || std::is_same_v<B, double>, double, float>;

template <class To, class From>
__global__ void convert_kernel(To* dst, const From* src, uint64_t n) {
  const uint64_t first = static_cast<uint64_t>(blockIdx.x) * kTile + threadIdx.x * kVector;
  if (first >= n) return;
  Wide<From, From> values[kVector];
  load4(src, first, n, values);
  if constexpr (std::is_same_v<To, double>) {
    double wide[kVector];
#pragma unroll
    for (uint32_t i = 0; i < kVector; ++i) wide[i] = values[i];
    store4(dst, first, n, wide);
  } else {
    store4(dst, first, n, values);
  }
}

template <class W>
__device__ W value_of(Factor factor) {
  if (factor.scale == nullptr) return factor.value;
  return static_cast<W>(factor.value) * static_cast<W>(*factor.scale);
}

template <class X, class Y>
__global__ void axpby_kernel(uint64_t n, Factor a, const X* x, Factor b, Y* y) {
  using W = Wide<X, Y>;
  const uint64_t first = static_cast<uint64_t>(blockIdx.x) * kTile + threadIdx.x * kVector;
  if (first >= n) return;
  const W scale = value_of<W>(a);
  W in[kVector];
  load4(x, first, n, in);
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) in[i] = scale * in[i];
  if (b.value != 0) {
    const W keep = value_of<W>(b);
    W old[kVector];
    load4(y, first, n, old);
#pragma unroll
    for (uint32_t i = 0; i < kVector; ++i) in[i] = in[i] + keep * old[i];
  }
  store4(y, first, n, in);
}

struct Piece {
  const void* x;
  uint64_t n;
  esp_dtype dtype;
  uint32_t first_tile;  // of the launch
};

struct Pieces {
  uint32_t n, n_tiles;
  Piece list[kMaxPieces];
};
static_assert(sizeof(Pieces) <= 4000, "arguments of a kernel");

template <class T>
__device__ double squares_of(const void* x, uint64_t first, uint64_t n) {
  Wide<T, T> values[kVector];
  load4(static_cast<const T*>(x), first, n, values);
  double sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < kVector; ++i) sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return sum;
}

__device__ double squares_of_tile(const Pieces& pieces, uint32_t tile) {
  const Piece& piece = part_of_tile(pieces.list, pieces.n, tile);
  const uint64_t first = static_cast<uint64_t>(tile - piece.first_tile) * kTile + threadIdx.x * kVector;
  switch (piece.dtype) {
    case ESP_F32:
      return squares_of<float>(piece.x, first, piece.n);
    case ESP_F16:
      return squares_of<__half>(piece.x, first, piece.n);
    case ESP_BF16:
      return squares_of<__nv_bfloat16>(piece.x, first, piece.n);
    default:
      return squares_of<double>(piece.x, first, piece.n);
  }
}

// Blocks leave their sums; the last one to finish adds them in their order.
template <class Sum>
__global__ void add_squares_kernel(const __grid_constant__ Pieces pieces, double* parts, uint32_t* finished,
                                   Sum* add_to) {
  double mine = 0;
  for (uint32_t tile = blockIdx.x; tile < pieces.n_tiles; tile += gridDim.x) mine += squares_of_tile(pieces, tile);
  const double sum = sum_of_block(mine);
  __shared__ bool last;
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(finished, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  double part = 0;
  for (uint32_t i = threadIdx.x; i < gridDim.x; i += kThreads) part += parts[i];
  const double total = sum_of_block(part);
  if (threadIdx.x != 0) return;
  *add_to = static_cast<Sum>(static_cast<double>(*add_to) + total);
  *finished = 0;
}

template <class Sum>
void launch_squares(cudaStream_t stream, SquareScratch scratch, uint32_t place, const NormPiece* list, uint32_t n,
                    Sum* add_to) {
  for (uint32_t begin = 0; begin < n; begin += kMaxPieces) {
    Pieces pieces{};
    for (uint32_t i = begin; i < std::min(n, begin + kMaxPieces); ++i) {
      if (list[i].n == 0) continue;
      pieces.list[pieces.n++] = {list[i].grad, list[i].n, list[i].dtype, pieces.n_tiles};
      pieces.n_tiles += tiles(list[i].n);
    }
    if (pieces.n == 0) continue;
    add_squares_kernel<Sum><<<std::min(pieces.n_tiles, kMaxParts), kThreads, 0, stream>>>(
        pieces, scratch.parts + uint64_t{place} * kMaxParts, scratch.finished + place, add_to);
    check_launch("sum of squares");
  }
}

struct Program {
  uint32_t n_ops;
  esp_sop ops[kMaxOps];
  float* regs[kMaxRegs];
};

__global__ void scalars_kernel(const __grid_constant__ Program program) {
  for (uint32_t i = 0; i < program.n_ops; ++i) {
    const esp_sop op = program.ops[i];
    const float b = op.b == ESP_SOP_IMM ? op.imm : *program.regs[op.b];
    *program.regs[op.dst] = scalar_op(op, *program.regs[op.dst], *program.regs[op.a], b);
  }
}

}  // namespace

void check_architecture() {
  cudaFuncAttributes facts{};
  const cudaError_t status = cudaFuncGetAttributes(&facts, scalars_kernel);
  if (status == cudaSuccess) return;
  cudaGetLastError();
  int device = 0;
  cudaDeviceProp gpu{};
  cudaGetDevice(&device);
  cudaGetDeviceProperties(&gpu, device);
  throw Error(ExitCode::kResource, std::string("there is no code for ") + gpu.name + " (compute capability " +
                                       std::to_string(gpu.major) + "." + std::to_string(gpu.minor) +
                                       ") in libespalier_cuda.so: " + cudaGetErrorString(status) +
                                       "; build with -DEspalier_CUDA_ARCHITECTURES=" + std::to_string(gpu.major) +
                                       std::to_string(gpu.minor));
}

void convert(cudaStream_t stream, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n) {
  with_type(dst_t, [&](auto* to) {
    with_type(src_t, [&](auto* from) {
      using To = std::remove_pointer_t<decltype(to)>;
      using From = std::remove_pointer_t<decltype(from)>;
      convert_kernel<<<tiles(n), kThreads, 0, stream>>>(static_cast<To*>(dst), static_cast<const From*>(src), n);
    });
  });
  check_launch("convert");
}

void axpby(cudaStream_t stream, uint64_t n, Factor a, const void* x, esp_dtype x_t, Factor b, void* y, esp_dtype y_t) {
  with_type(x_t, [&](auto* from) {
    with_type(y_t, [&](auto* to) {
      using X = std::remove_pointer_t<decltype(from)>;
      using Y = std::remove_pointer_t<decltype(to)>;
      axpby_kernel<<<tiles(n), kThreads, 0, stream>>>(n, a, static_cast<const X*>(x), b, static_cast<Y*>(y));
    });
  });
  check_launch("axpby");
}

SquareScratch make_scratch(uint32_t n_streams) {
  SquareScratch scratch;
  void *parts = nullptr, *finished = nullptr;
  check_cuda(cudaMalloc(&parts, uint64_t{n_streams} * kMaxParts * sizeof(double)), "allocating scratch memory");
  scratch.parts = static_cast<double*>(parts);
  check_cuda(cudaMalloc(&finished, n_streams * sizeof(uint32_t)), "allocating scratch memory");
  scratch.finished = static_cast<uint32_t*>(finished);
  check_cuda(cudaMemset(finished, 0, n_streams * sizeof(uint32_t)), "zeroing scratch memory");
  return scratch;
}

void free_scratch(SquareScratch scratch) {
  cudaFree(scratch.parts);
  cudaFree(scratch.finished);
}

void add_squares(cudaStream_t stream, SquareScratch scratch, uint32_t stream_index, const NormPiece* pieces,
                 uint32_t n_pieces, float* add_to) {
  launch_squares(stream, scratch, stream_index, pieces, n_pieces, add_to);
}

void add_squares(cudaStream_t stream, SquareScratch scratch, uint32_t stream_index, const NormPiece* pieces,
                 uint32_t n_pieces, double* add_to) {
  launch_squares(stream, scratch, stream_index, pieces, n_pieces, add_to);
}

void scalars(cudaStream_t stream, const esp_sop* ops, uint32_t n_ops, float* const* regs, uint32_t n_regs) {
  if (n_ops == 0) return;
  Program program{};
  program.n_ops = n_ops;
  std::copy(ops, ops + n_ops, program.ops);
  std::copy(regs, regs + n_regs, program.regs);
  scalars_kernel<<<1, 1, 0, stream>>>(program);
  check_launch("scalars");
}

}  // namespace esp::runtime::gpu
