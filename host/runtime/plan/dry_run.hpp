// The memory of a rank before anything starts: the steps of a Session on a device that only counts.
#pragma once

#include "runtime/train/session.hpp"

namespace esp::runtime {

enum class Touching {
  kForbidden,  // a strategy that touches memory in prepare crashes: for a process that may die
  kTolerated   // it meets zeros, as in the run: for a rank
};

// What rank job.ranks.rank of job.ranks.world would take. `data`: the described data set, or NULL = job.dataset is
// asked; when it cannot be had, the model must know its classes itself. Throws Error: every refusal that a run would
// meet until its first step, but for those of the data and of the machine.
MemoryPlan plan_memory(const Job& job, const esp_dataset_desc* data, Touching touching);

// In a rank: what was predicted for this run by tag, maximum over ranks; all ranks call it. Empty when a rank cannot
// tell; it logs why, since a run that works needs no prediction.
std::optional<MemoryByTag> predict_memory(Session& session);

}  // namespace esp::runtime
