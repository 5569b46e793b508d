// The same training in one process, in double precision.
#pragma once

#include <vector>

#include "verify/optimizer.hpp"
#include "verify/toy.hpp"

namespace esp::verify {

// Samples of micro-batch `micro` of `rank`: 0 to 2, never 0 on rank 0's first.
uint64_t samples_of(int rank, uint32_t micro);

class Oracle {
 public:
  using Values = std::vector<std::vector<double>>;

  Oracle(const Toy& toy, const OptimizerSettings& optimizer, int world, uint32_t n_micro, bool same_samples);

  // skip: the host found non-finite gradients and left everything as it was.
  void step(bool skip);
  // Sum over the samples that `rank` sees of micro-batch `micro`, of one use of an element, before the seed.
  double part(int rank, uint32_t micro, uint32_t param, uint64_t element, uint32_t unit, double weight) const;
  double samples() const { return samples_; }  // of a step
  double norm() const { return norm_; }        // of the last step's gradient, before clipping
  // The gradient of a step as the optimizer would get it, or what one rank's samples alone make of it.
  double gradient(uint32_t param, uint64_t element, int only_rank = -1) const;

  // Weights and optimizer state of another oracle, whose world may differ.
  void continue_from(const Oracle& other);

  Values weights;

 private:
  const Toy& toy_;
  const OptimizerSettings optimizer_;
  const int world_;
  const uint32_t n_micro_;
  const bool same_;
  double samples_ = 0, applied_ = 0, norm_ = 0;
  Values slots_[2];
};

}  // namespace esp::verify
