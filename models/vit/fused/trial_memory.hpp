// Operands for timing products: places in one block of memory, filled with numbers like those of a step.
#pragma once

#include <vector>

#include "matmul_plan.hpp"

namespace esp::vit::fused {

// In a step a product's input was written a moment ago, while weights, saved activations and residuals have left the
// cache since. So the first keeps its place and the others, like the results, move on from call to call. Inputs are
// never results: numbers that went through many products would overflow.
class TrialMemory {
 public:
  // What the shapes need at least, one after the other.
  static size_t least_bytes(const std::vector<MatmulShape>& shapes);

  // memory: least_bytes or more, of the device. cache: bytes of its L2.
  TrialMemory(const std::vector<MatmulShape>& shapes, size_t cache, void* memory, size_t bytes);

  // Writes the inputs. Before the first call; blocks.
  void fill(Half half, cudaStream_t stream) const;

  // For the n-th call of a product of this shape.
  MatmulOperands operands(const MatmulShape& shape, size_t n) const;

 private:
  struct Sizes {
    size_t inputs, results;
  };
  static Sizes sizes(const std::vector<MatmulShape>& shapes, size_t places, size_t cache);

  char* memory_;
  size_t cache_;
  size_t places_ = 1;  // at most, for what moves on
  size_t inputs_ = 0;  // bytes; results lie behind
};

}  // namespace esp::vit::fused
