#include "cli/planning.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/in_child.hpp"
#include "cli/machine_memory.hpp"
#include "cli/rank_job.hpp"
#include "modules/runtime_library.hpp"

namespace esp::cli {
namespace {

using Json = nlohmann::json;

constexpr unsigned kLimitSeconds = 120;
constexpr int32_t kSmallWorld = 8;
constexpr int64_t kMaxBatch = 1 << 16;
constexpr const char* kHint =
    "host plan prepares a strategy without memory behind its addresses: prepare must not touch what esp.memory gives";

constexpr runtime::TagBytes runtime::MemoryByTag::*kPlaces[] = {
    &runtime::MemoryByTag::both, &runtime::MemoryByTag::device, &runtime::MemoryByTag::pinned};

std::vector<int32_t> ranks_to_plan(int32_t world) {
  if (world > kSmallWorld) return {0, world - 1};
  std::vector<int32_t> all;
  for (int32_t rank = 0; rank < world; ++rank) all.push_back(rank);
  return all;
}

// Plans in the child: the runtime, and every library, may die of it.
class Planner {
 public:
  explicit Planner(const RunSetup& setup)
      : api_(load_runtime()), world_(setup.config.run.nproc), job_(make_job(runtime::Task::kTrain, setup, {})) {
    job_.ranks.world = job_.ranks.local_world = world_;
  }

  runtime::MemoryPlan plan(const std::vector<int32_t>& ranks) {
    std::optional<runtime::MemoryPlan> peak;
    for (const int32_t rank : ranks) {
      job_.ranks.rank = job_.ranks.local_rank = rank;
      runtime::MemoryPlan plan = api_.plan(job_);
      if (peak) take_larger(*peak, plan);
      if (!peak) peak = std::move(plan);
    }
    return std::move(*peak);
  }

  // By doubling and halving; memory grows with the batch. Empty when even the largest that is tried fits.
  std::optional<int64_t> largest_batch(const Capacity& capacity) {
    int64_t fitting = 0, failing = 1;
    while (failing <= kMaxBatch && batch_fits(failing, capacity)) {
      fitting = failing;
      failing *= 2;
    }
    if (failing > kMaxBatch) return std::nullopt;
    while (failing - fitting > 1) {
      const int64_t middle = fitting + (failing - fitting) / 2;
      (batch_fits(middle, capacity) ? fitting : failing) = middle;
    }
    return fitting;
  }

 private:
  static void take_larger(runtime::MemoryPlan& peak, const runtime::MemoryPlan& plan) {
    for (const auto place : kPlaces) {
      for (uint32_t tag = 0; tag < ESP_N_TAGS; ++tag) {
        (peak.by_tag.*place)[tag] = std::max((peak.by_tag.*place)[tag], (plan.by_tag.*place)[tag]);
      }
    }
    peak.device_bytes = std::max(peak.device_bytes, plan.device_bytes);
    peak.pinned_bytes = std::max(peak.pinned_bytes, plan.pinned_bytes);
  }

  bool batch_fits(int64_t rows, const Capacity& capacity) {
    RunConfig::Train& train = job_.config.train;
    if (train.global_batch_size != 0) {
      train.accumulation_steps = plan_batch(train, world_).accumulation;
      train.global_batch_size = 0;
    }
    train.batch_size = rows;
    try {
      return fits(plan({0}), capacity).value_or(true);
    } catch (const Error& error) {
      if (error.code() != ExitCode::kResource) throw;
      return false;  // a budget refused it
    }
  }

  runtime::Api& api_;
  int32_t world_;
  runtime::Job job_;
};

std::string to_text(const RunPlan& run) {
  const runtime::MemoryPlan& plan = run.peak;
  Json json{{"strategy", plan.strategy},
            {"model", plan.model_name},
            {"precision", plan.precision},
            {"batch", {plan.batch.micro_batch, plan.batch.accumulation, plan.batch.global_batch}},
            {"n_params", plan.n_params},
            {"by_tag", {plan.by_tag.both, plan.by_tag.device, plan.by_tag.pinned}},
            {"device", plan.device_bytes},
            {"pinned", plan.pinned_bytes},
            {"notes", plan.notes}};
  if (run.largest_batch) json["largest_batch"] = *run.largest_batch;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

RunPlan from_text(const std::string& text) {
  const Json json = Json::parse(text);
  RunPlan run;
  runtime::MemoryPlan& plan = run.peak;
  plan.strategy = json.at("strategy");
  plan.model_name = json.at("model");
  plan.precision = json.at("precision");
  plan.batch = {json.at("batch").at(0), json.at("batch").at(1), json.at("batch").at(2)};
  plan.n_params = json.at("n_params");
  for (size_t i = 0; i < std::size(kPlaces); ++i) plan.by_tag.*kPlaces[i] = json.at("by_tag").at(i);
  plan.device_bytes = json.at("device");
  plan.pinned_bytes = json.at("pinned");
  plan.notes = json.at("notes").get<std::vector<std::string>>();
  if (json.contains("largest_batch")) run.largest_batch = json.at("largest_batch").get<int64_t>();
  return run;
}

}  // namespace

Capacity capacity_of(const RunConfig& config) {
  const uint64_t machine = available_memory();
  const uint64_t share = machine == UINT64_MAX ? machine : machine / static_cast<uint64_t>(config.run.nproc);
  Capacity capacity;
  capacity.is_shared = config.run.device != Device::kCuda;
  capacity.both = share;
  if (capacity.is_shared) capacity.device = share;
  capacity.pinned = share;
  if (config.run.device_budget != 0) capacity.device = config.run.device_budget;
  if (config.run.pinned_budget != 0) capacity.pinned = config.run.pinned_budget;
  return capacity;
}

std::optional<bool> fits(const runtime::MemoryPlan& plan, const Capacity& capacity) {
  const bool within_places = plan.device_bytes <= capacity.device && plan.pinned_bytes <= capacity.pinned;
  if (!within_places) return false;
  if (capacity.is_shared && plan.device_bytes + plan.pinned_bytes > capacity.both) return false;
  if (capacity.device == UINT64_MAX) return std::nullopt;
  return true;
}

RunPlan plan_run(const RunSetup& setup, const Capacity& capacity, bool with_largest_batch) {
  const std::vector<int32_t> ranks = ranks_to_plan(setup.config.run.nproc);
  const bool searches = with_largest_batch && capacity.device != UINT64_MAX;
  RunPlan run = from_text(in_child(
      [&] {
        Planner planner(setup);
        RunPlan planned{planner.plan(ranks), ranks, std::nullopt};
        if (searches) planned.largest_batch = planner.largest_batch(capacity);
        return to_text(planned);
      },
      kLimitSeconds, kHint));
  run.ranks = ranks;
  return run;
}

}  // namespace esp::cli
