// One product of a linear layer as cuBLASLt wants it described.
#pragma once

#include <cublasLt.h>

#include <cstdint>
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
  // Bytes of the matrices, each rounded up to 256.
  size_t x_bytes() const;
  size_t y_bytes() const;
  size_t weight_bytes() const;
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

// Throws Failure naming `what` for a status other than success.
void check_lt(cublasStatus_t status, const std::string& what);

class MatmulPlan {
 public:
  struct Workspace {
    void* data;
    size_t bytes;
  };

  // The handle outlives the plan.
  MatmulPlan(cublasLtHandle_t handle, const MatmulShape& shape, Half half);
  ~MatmulPlan();
  MatmulPlan(const MatmulPlan&) = delete;
  MatmulPlan& operator=(const MatmulPlan&) = delete;

  const MatmulShape& shape() const { return shape_; }
  std::unique_ptr<MatmulPlan> without_bias() const;
  // What the library proposes within these limits, best first by its own reckoning; may be nothing.
  // reductions: a mask of cublasLtReductionScheme_t. any_bias: an aligned address.
  std::vector<cublasLtMatmulAlgo_t> proposals(size_t workspace, uint32_t reductions, const void* any_bias) const;
  // Whether the algorithm computes this product with that much workspace.
  bool admits(const cublasLtMatmulAlgo_t& algorithm, size_t workspace) const;
  void enqueue(const cublasLtMatmulAlgo_t& algorithm, const MatmulOperands& operands, cudaStream_t stream,
               Workspace workspace) const;

  void choose(const cublasLtMatmulAlgo_t& algorithm) {
    algorithm_ = algorithm;
    chosen_ = true;
  }
  bool chosen() const { return chosen_; }
  const cublasLtMatmulAlgo_t& algorithm() const { return algorithm_; }

 private:
  template <class V>
  void set(cublasLtMatmulDescAttributes_t attribute, V value) const {
    check_lt(cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof value), "an attribute");
  }

  const cublasLtHandle_t handle_;
  const MatmulShape shape_;
  const Half half_;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, d_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  bool chosen_ = false;
};

}  // namespace esp::vit::fused
