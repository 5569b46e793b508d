// Finds the fastest algorithm of each of several products by timing.
#pragma once

#include <cstdint>
#include <vector>

#include "contenders.hpp"
#include "trial_memory.hpp"

namespace esp::vit::fused {

// All products are timed together, round after round over the algorithms that are still in the running: clock, power
// and cache are then as in a step, which computes them one after the other, and what changes meets all alike.
class Contest {
 public:
  Contest(const std::vector<MatmulPlan*>& plans, const TrialMemory& memory, cudaStream_t stream,
          MatmulPlan::Workspace workspace);
  ~Contest();
  Contest(const Contest&) = delete;
  Contest& operator=(const Contest&) = delete;

  // Chooses an algorithm for each plan. Blocks; takes a few seconds at most.
  void run();

 private:
  struct Heat {
    MatmulPlan* plan;
    std::vector<Contender> contenders;
    int repeats = 1;
    size_t calls = 0;
  };

  void warm_up();
  void first_run();
  void set_handicap(Heat& heat, Contender& contender);
  void round();
  void call(Heat& heat, Contender& contender);
  // As keep_fastest, of each product.
  void keep(float within, size_t most);
  void forget_times();
  cudaEvent_t event(size_t i);

  const TrialMemory& memory_;
  const cudaStream_t stream_;
  const MatmulPlan::Workspace workspace_;
  std::vector<Heat> heats_;
  std::vector<cudaEvent_t> events_;
  size_t round_ = 0;
};

}  // namespace esp::vit::fused
