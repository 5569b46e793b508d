// What a run would take, asked of the runtime in a child process, and whether the machine has it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/run_setup.hpp"
#include "runtime/api.hpp"

namespace esp::cli {

// Bytes that a rank may take; UINT64_MAX where nobody knows.
struct Capacity {
  uint64_t device = UINT64_MAX;
  uint64_t pinned = UINT64_MAX;
  bool is_shared = false;      // a CPU: both places are the machine's memory,
  uint64_t both = UINT64_MAX;  // of which this is one rank's share
};
Capacity capacity_of(const RunConfig& config);

struct RunPlan {
  runtime::MemoryPlan peak;  // maximum over the planned ranks
  std::vector<int32_t> ranks;
  std::optional<int64_t> largest_batch;  // micro-batch of a rank that fits, 0 = none; empty when not asked or unlimited
};

// Empty when nobody knows what there is.
std::optional<bool> fits(const runtime::MemoryPlan& plan, const Capacity& capacity);

// Plans all ranks of a small world, the first and the last of a large one. `with_largest_batch`: accumulation stays,
// the global batch follows. Throws what the run would refuse, and Error(kPlugin) for a library that crashes.
RunPlan plan_run(const RunSetup& setup, const Capacity& capacity, bool with_largest_batch);

}  // namespace esp::cli
