// Algorithms that compete for one product, and how long each took.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <vector>

namespace esp::vit::fused {

struct Contender {
  cublasLtMatmulAlgo_t algorithm{};
  bool fails = false;       // it does not run
  std::vector<float> ms{};  // of its calls so far

  float median() const;  // of at least one
};

// Sorts by time and keeps those within so many times the best one's, at most so many. Who fails or was not timed
// leaves.
void keep_fastest(std::vector<Contender>& contenders, float within, size_t most);

}  // namespace esp::vit::fused
