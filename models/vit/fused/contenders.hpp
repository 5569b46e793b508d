// Algorithms that compete for one product, and how long each took.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <vector>

namespace esp::vit::fused {

struct Contender {
  cublasLtMatmulAlgo_t algorithm{};
  bool fails = false;       // it does not run
  float handicap = 0;       // ms that a call costs beyond what is timed
  std::vector<float> ms{};  // of its calls so far

  float time() const;  // median, of at least one, and handicap
};

// Sorts by time and keeps those within so many times the best one's, at most so many. Who fails or was not timed
// leaves.
void keep_fastest(std::vector<Contender>& contenders, float within, size_t most);

}  // namespace esp::vit::fused
