// The products of linear layers on cuBLASLt, each with the algorithm that was fastest when it was timed.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace esp::vit::fused {

// y [m, n] = x [m, k] * weight [n, k]^T and its two gradients.
enum class Product : uint32_t {
  kForward,  // y = x * weight^T (+ bias) (+ residual)
  kInput,    // dx = dy * weight (+ what is there)
  kWeight,   // dweight = dy^T * x (+ what is there)
};

struct MatmulShape {
  Product product = Product::kForward;
  int64_t m = 0, n = 0, k = 0;
  int64_t x_stride = 0, y_stride = 0;  // elements from row to row; 0: dense
  bool bias = false;                   // kForward
  bool residual = false;               // kForward
  Sum result = Sum::kHalf;             // kWeight: dtype of dweight

  std::string text() const;
  bool operator<(const MatmulShape& other) const;
};

// What a call works on; which of them it writes depends on the product.
struct MatmulOperands {
  const void* x = nullptr;
  const void* weight = nullptr;
  const void* y = nullptr;
  const void* bias = nullptr;
  const void* residual = nullptr;  // kForward: rows as y's; may be y
  bool add = false;                // kInput, kWeight: adds to the result
};

class Matmul;

class Matmuls {
 public:
  struct Workspace {
    void* data;
    size_t bytes;
  };

  // device: of the calling thread.
  Matmuls(Half half, int device);
  ~Matmuls();
  Matmuls(const Matmuls&) = delete;
  Matmuls& operator=(const Matmuls&) = delete;

  // Before tune: there will be products of this shape.
  void plan(const MatmulShape& shape);
  // Bytes of memory that tune wants for the largest product.
  size_t tuning_bytes() const;
  // Chooses the algorithm of each product that has none: from the file of earlier choices, else by timing on `memory`
  // (tuning_bytes, overwritten), which blocks. by_time false: the library's first proposal.
  void tune(void* memory, bool by_time, cudaStream_t stream, Workspace workspace);
  // Enqueues a planned product.
  void run(const MatmulShape& shape, const MatmulOperands& operands, cudaStream_t stream, Workspace workspace) const;
  int timed() const { return timed_; }  // products that were timed, not remembered

 private:
  void run(const Matmul& matmul, const MatmulOperands& operands, cudaStream_t stream, Workspace workspace) const;
  void choose(Matmul& matmul, void* memory, bool by_time, cudaStream_t stream, Workspace workspace);

  Half half_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<MatmulShape, std::unique_ptr<Matmul>> plans_;
  std::string machine_;  // what a choice depends on beside the shape
  int timed_ = 0;
};

}  // namespace esp::vit::fused
