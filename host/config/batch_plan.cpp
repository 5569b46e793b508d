#include <algorithm>
#include <string>

#include "config/run_config.hpp"
#include "error.hpp"

namespace esp {
namespace {

constexpr int64_t kDefaultGlobalBatch = 32;

std::string named(const char* key, int64_t value) { return std::string(key) + " = " + std::to_string(value); }

// `global` samples in equal parts of `unit` (what one sample more in the derived number costs).
int64_t divided(int64_t global, int64_t unit, const std::string& derived, const std::string& by) {
  if (global % unit == 0) return global / unit;
  const int64_t below = global / unit * unit;
  const std::string near = (below > 0 ? std::to_string(below) + " or " : "") + std::to_string(below + unit);
  throw Error(ExitCode::kUsage, named("train.global_batch_size", global) + " leaves no whole train." + derived +
                                    ": it is no multiple of " + by + " = " + std::to_string(unit) +
                                    "; the nearest that fits is " + near);
}

}  // namespace

BatchPlan plan_batch(const RunConfig::Train& train, int64_t world_size) {
  const std::string ranks = std::to_string(world_size) + (world_size == 1 ? " rank" : " ranks");
  BatchPlan plan{train.batch_size, train.accumulation_steps, train.global_batch_size};
  if (plan.global_batch == 0) {
    if (plan.accumulation == 0) plan.accumulation = 1;
    const int64_t share = kDefaultGlobalBatch / (plan.accumulation * world_size);
    if (plan.micro_batch == 0) plan.micro_batch = std::max<int64_t>(share, 1);
    plan.global_batch = plan.micro_batch * plan.accumulation * world_size;
    return plan;
  }
  if (plan.micro_batch == 0) {
    if (plan.accumulation == 0) plan.accumulation = 1;
    const std::string by = named("train.accumulation_steps", plan.accumulation) + " x " + ranks;
    plan.micro_batch = divided(plan.global_batch, plan.accumulation * world_size, "batch_size", by);
  } else if (plan.accumulation == 0) {
    const std::string by = named("train.batch_size", plan.micro_batch) + " x " + ranks;
    plan.accumulation = divided(plan.global_batch, plan.micro_batch * world_size, "accumulation_steps", by);
  }
  const int64_t product = plan.micro_batch * plan.accumulation * world_size;
  if (product != plan.global_batch) {
    throw Error(ExitCode::kUsage, named("train.global_batch_size", plan.global_batch) + " contradicts " +
                                      named("train.batch_size", plan.micro_batch) + " x " +
                                      named("train.accumulation_steps", plan.accumulation) + " x " + ranks + " = " +
                                      std::to_string(product) + "; leave one of the three out");
  }
  return plan;
}

}  // namespace esp
