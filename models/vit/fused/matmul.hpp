// The products of linear layers on cuBLASLt, each with the algorithm that was fastest when it was timed.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "matmul_plan.hpp"
#include "workspace_order.hpp"

namespace esp::vit::fused {

class AlgorithmFile;

class Matmuls {
 public:
  using Workspace = MatmulPlan::Workspace;

  // device: of the calling thread.
  Matmuls(Half half, int device);
  ~Matmuls();
  Matmuls(const Matmuls&) = delete;
  Matmuls& operator=(const Matmuls&) = delete;

  // Before tune: there will be products of this shape.
  void plan(const MatmulShape& shape);
  // Bytes of memory that tune needs at least.
  size_t tuning_bytes() const;
  // Chooses the algorithm of each product that has none: from the file of earlier choices, else by timing on `memory`
  // (overwritten; more than tuning_bytes makes timing more like a step), which blocks for a few seconds at most.
  // by_time false: the library's first proposal.
  void tune(void* memory, size_t bytes, bool by_time, cudaStream_t stream, Workspace workspace);
  // Enqueues a planned product.
  void run(const MatmulShape& shape, const MatmulOperands& operands, cudaStream_t stream, Workspace workspace);
  size_t timed() const { return timed_; }  // products that were timed, not remembered

 private:
  std::string key(const MatmulShape& shape, Workspace workspace) const;
  bool recall(MatmulPlan& plan, const AlgorithmFile& file, Workspace workspace) const;

  Half half_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<MatmulShape, std::unique_ptr<MatmulPlan>> plans_;
  std::map<const void*, WorkspaceOrder> orders_;  // by workspace
  std::string machine_;                           // what a choice depends on beside the shape
  size_t cache_ = 0;                              // bytes of the device's L2
  size_t timed_ = 0;
};

}  // namespace esp::vit::fused
