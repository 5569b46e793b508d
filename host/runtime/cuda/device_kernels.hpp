// Launches of the CUDA kernels. All enqueue and return; all throw Error when a launch fails. Results do not depend on
// the launch, bit for bit: no atomic sums.
#pragma once

#include <cuda_runtime_api.h>
#include <espalier/host.h>

#include <cstdint>

#include "runtime/device/update_block.hpp"

namespace esp::runtime::gpu {

// Throws Error(kResource) when the library has no code for the current GPU.
void check_architecture();

void convert(cudaStream_t stream, void* dst, esp_dtype dst_t, const void* src, esp_dtype src_t, uint64_t n);

// value * *scale; scale: device memory or NULL = 1.
struct Factor {
  float value;
  const float* scale;
};
// y = a x + b y; y is not read where b.value is 0.
void axpby(cudaStream_t stream, uint64_t n, Factor a, const void* x, esp_dtype x_t, Factor b, void* y, esp_dtype y_t);

// Where blocks of one sum leave their parts; one place for each stream, whose sums follow each other.
struct SquareScratch {
  double* parts = nullptr;
  uint32_t* finished = nullptr;
};
SquareScratch make_scratch(uint32_t n_streams);
void free_scratch(SquareScratch scratch);
// *add_to += sum of squares of all pieces, added in fp64.
void add_squares(cudaStream_t stream, SquareScratch scratch, uint32_t stream_index, const NormPiece* pieces,
                 uint32_t n_pieces, float* add_to);
void add_squares(cudaStream_t stream, SquareScratch scratch, uint32_t stream_index, const NormPiece* pieces,
                 uint32_t n_pieces, double* add_to);

// At most 32 operations on 250 registers.
void scalars(cudaStream_t stream, const esp_sop* ops, uint32_t n_ops, float* const* regs, uint32_t n_regs);

// mirror: pinned; its partial sums belong to the CPU's queues. NULL: there are none.
void begin_update(cudaStream_t stream, UpdateBlock* block, UpdateBlock* mirror, const UpdateRules& rules,
                  const UpdateInputs& inputs);
void sum_partials(cudaStream_t stream, UpdateBlock* block, UpdateBlock* mirror);
void finish_norm(cudaStream_t stream, UpdateBlock* block, const UpdateRules& rules);
void sum_and_finish_norm(cudaStream_t stream, UpdateBlock* block, UpdateBlock* mirror, const UpdateRules& rules);
void apply(cudaStream_t stream, const UpdateBlock* block, const UpdateRules& rules, const UpdateRange* ranges,
           uint32_t n);
// The same, and *add_to += sum of squares of the gradients, added in fp64. sums: kTileSums numbers of scratch memory
// for the stream alone.
void apply_adding_squares(cudaStream_t stream, const UpdateBlock* block, const UpdateRules& rules,
                          const UpdateRange* ranges, uint32_t n, double* sums, double* add_to);
inline constexpr uint32_t kTileSums = 1u << 14;
void end_update(cudaStream_t stream, UpdateBlock* block, const UpdateRules& rules, UpdateResult* pinned);

}  // namespace esp::runtime::gpu
