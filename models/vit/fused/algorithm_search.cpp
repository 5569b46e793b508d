#include "algorithm_search.hpp"

#include <algorithm>
#include <cstring>
#include <espalier/failure.hpp>

namespace esp::vit::fused {
namespace {

// Split sums are added in fp32: in the output's 16 bits they would lose what they are split for.
constexpr uint32_t kSplit = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
constexpr uint32_t kWhole = CUBLASLT_REDUCTION_SCHEME_NONE;

using Algorithms = std::vector<cublasLtMatmulAlgo_t>;

bool holds(const Algorithms& algorithms, const cublasLtMatmulAlgo_t& wanted) {
  return std::any_of(algorithms.begin(), algorithms.end(),
                     [&](const auto& one) { return std::memcmp(&one, &wanted, sizeof one) == 0; });
}

}  // namespace

// Of all that cuBLASLt admits, only what it proposes itself: with tiles and clusters set by hand it admits kernels that
// fail when they run. What it proposes for a product with bias leaves out kernels that are up to a fifth faster; they
// are there for the product without, and compute both.
Algorithms proposed(const MatmulPlan& plan, size_t workspace, const void* any_bias) {
  Algorithms all;
  const auto add = [&](const MatmulPlan& of) {
    for (const auto& [bytes, reductions] : {std::pair{workspace, kWhole | kSplit}, std::pair{workspace, kWhole},
                                            std::pair{workspace, kSplit}, std::pair{workspace / 8, kWhole | kSplit}}) {
      for (const cublasLtMatmulAlgo_t& one : of.proposals(bytes, reductions, any_bias)) {
        if (!holds(all, one) && plan.admits(one, workspace)) all.push_back(one);
      }
    }
  };
  add(plan);
  if (plan.shape().bias) add(*plan.without_bias());
  if (all.empty()) fail(ESP_E_UNSUPPORTED, "cuBLASLt has no algorithm for product ", plan.shape().text());
  return all;
}

}  // namespace esp::vit::fused
