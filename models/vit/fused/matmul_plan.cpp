#include "matmul_plan.hpp"

#include <espalier/failure.hpp>
#include <tuple>

namespace esp::vit::fused {
namespace {

constexpr int kMostProposals = 32;

cudaDataType_t data_type(Half half) { return half == Half::kBf16 ? CUDA_R_16BF : CUDA_R_16F; }

size_t rounded(int64_t bytes) { return (static_cast<size_t>(bytes) + 255) / 256 * 256; }

cublasLtMatrixLayout_t layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t stride) {
  cublasLtMatrixLayout_t made = nullptr;
  check_lt(cublasLtMatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), stride),
           "a layout");
  return made;
}

}  // namespace

void check_lt(cublasStatus_t status, const std::string& what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    fail(ESP_E_DEVICE, "cuBLASLt, ", what, ": ", cublasLtGetStatusName(status));
  }
}

std::string MatmulShape::text() const {
  return std::to_string(static_cast<int>(product)) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" +
         std::to_string(k) + " " + std::to_string(x_stride) + " " + std::to_string(y_stride) + (bias ? " bias" : "") +
         (residual ? " residual" : "") + (result == Sum::kFloat ? " fp32" : "");
}

bool MatmulShape::operator<(const MatmulShape& other) const {
  const auto fields = [](const MatmulShape& of) {
    return std::tie(of.product, of.m, of.n, of.k, of.x_stride, of.y_stride, of.bias, of.residual, of.result);
  };
  return fields(*this) < fields(other);
}

size_t MatmulShape::x_bytes() const { return rounded(m * (x_stride != 0 ? x_stride : k) * 2); }
size_t MatmulShape::y_bytes() const { return rounded(m * (y_stride != 0 ? y_stride : n) * 2); }
size_t MatmulShape::weight_bytes() const { return rounded(n * k * (result == Sum::kFloat ? 4 : 2)); }

// cuBLASLt is column-major: a row-major matrix is its own transpose there.
MatmulPlan::MatmulPlan(cublasLtHandle_t handle, const MatmulShape& shape, Half half)
    : handle_(handle), shape_(shape), half_(half) {
  const int64_t x_stride = shape.x_stride != 0 ? shape.x_stride : shape.k;
  const int64_t y_stride = shape.y_stride != 0 ? shape.y_stride : shape.n;
  const cudaDataType_t type = data_type(half);
  const cublasOperation_t t = CUBLAS_OP_T;
  check_lt(cublasLtMatmulDescCreate(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
  if (shape.product == Product::kForward) {
    set(CUBLASLT_MATMUL_DESC_TRANSA, t);
    a_ = layout(type, shape.k, shape.n, shape.k);
    b_ = layout(type, shape.k, shape.m, x_stride);
    d_ = layout(type, shape.n, shape.m, y_stride);
  } else if (shape.product == Product::kInput) {
    a_ = layout(type, shape.k, shape.n, shape.k);
    b_ = layout(type, shape.n, shape.m, y_stride);
    d_ = layout(type, shape.k, shape.m, x_stride);
  } else {
    set(CUBLASLT_MATMUL_DESC_TRANSB, t);
    a_ = layout(type, shape.k, shape.m, x_stride);
    b_ = layout(type, shape.n, shape.m, y_stride);
    d_ = layout(shape.result == Sum::kFloat ? CUDA_R_32F : type, shape.k, shape.n, shape.k);
  }
  if (shape.bias) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type);
  }
}

MatmulPlan::~MatmulPlan() {
  cublasLtMatrixLayoutDestroy(a_);
  cublasLtMatrixLayoutDestroy(b_);
  cublasLtMatrixLayoutDestroy(d_);
  cublasLtMatmulDescDestroy(desc_);
}

std::unique_ptr<MatmulPlan> MatmulPlan::without_bias() const {
  MatmulShape bare = shape_;
  bare.bias = false;
  return std::make_unique<MatmulPlan>(handle_, bare, half_);
}

std::vector<cublasLtMatmulAlgo_t> MatmulPlan::proposals(size_t workspace, uint32_t reductions,
                                                        const void* any_bias) const {
  cublasLtMatmulPreference_t preference = nullptr;
  check_lt(cublasLtMatmulPreferenceCreate(&preference), "a preference");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check_lt(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "a preference");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(workspace));
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  if (shape_.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, any_bias);  // looked at, not read
  std::vector<cublasLtMatmulHeuristicResult_t> found(kMostProposals);
  int n = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, desc_, a_, b_, d_, d_, preference, kMostProposals, found.data(), &n);
  cublasLtMatmulPreferenceDestroy(preference);
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (int i = 0; i < n && status == CUBLAS_STATUS_SUCCESS; ++i) {
    if (found[static_cast<size_t>(i)].state == CUBLAS_STATUS_SUCCESS) {
      algorithms.push_back(found[static_cast<size_t>(i)].algo);
    }
  }
  return algorithms;
}

bool MatmulPlan::admits(const cublasLtMatmulAlgo_t& algorithm, size_t workspace) const {
  cublasLtMatmulHeuristicResult_t result{};
  return cublasLtMatmulAlgoCheck(handle_, desc_, a_, b_, d_, d_, &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= workspace;
}

void MatmulPlan::enqueue(const cublasLtMatmulAlgo_t& algorithm, const MatmulOperands& operands, cudaStream_t stream,
                         Workspace workspace) const {
  const float one = 1, zero = 0;
  const void *a = operands.weight, *b = operands.x, *d = operands.y;
  bool adds = shape_.residual;
  if (shape_.product == Product::kInput) {
    b = operands.y;
    d = operands.x;
  } else if (shape_.product == Product::kWeight) {
    a = operands.x;
    b = operands.y;
    d = operands.weight;
  }
  if (shape_.product != Product::kForward) adds = operands.add;
  const void* c = shape_.residual ? operands.residual : d;
  if (shape_.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
  check_lt(cublasLtMatmul(handle_, desc_, &one, a, a_, b, b_, adds ? &one : &zero, c, d_, const_cast<void*>(d), d_,
                          &algorithm, workspace.data, workspace.bytes, stream),
           "product " + shape_.text());
}

}  // namespace esp::vit::fused
