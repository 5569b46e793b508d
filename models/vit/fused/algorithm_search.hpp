// Which algorithms of cuBLASLt are worth timing for a product.
#pragma once

#include <cublasLt.h>

#include <vector>

#include "matmul_plan.hpp"

namespace esp::vit::fused {

// What the library proposes under several limits, for the product and for the same without bias: different algorithms
// that fit product and workspace, at least one; first the one that the library takes for best. any_bias: an aligned
// address.
std::vector<cublasLtMatmulAlgo_t> proposed(const MatmulPlan& plan, size_t workspace, const void* any_bias);

}  // namespace esp::vit::fused
