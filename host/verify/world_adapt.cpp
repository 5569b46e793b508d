// adapt, between two steps: what it is told, and what it must leave as it was.
#include <algorithm>

#include "verify/element.hpp"
#include "verify/world.hpp"

namespace esp::verify {
namespace {

constexpr uint64_t kOfOthers = 4096;  // bytes that model and host are said to take

std::vector<double> values_of(const std::vector<Shard>& shards) {
  std::vector<double> values;
  for (const Shard& shard : shards) {
    for (uint64_t i = shard.lo; i < shard.hi; ++i) values.push_back(load(shard.data, i - shard.lo, shard.dtype));
  }
  return values;
}

bool same_apart_from_addresses(std::vector<Shard> one, std::vector<Shard> other) {
  for (std::vector<Shard>* shards : {&one, &other}) {
    for (Shard& shard : *shards) shard.data = nullptr;
  }
  return one == other;
}

}  // namespace

bool World::call_adapt(Rank& rank, uint64_t capacity) {
  const std::vector<uint64_t> others(toy_.view().n_train, kOfOthers);
  const esp_profile profile{sizeof profile, toy_.view().n_train, capacity, others.data()};
  return call(rank, Role::kMain, "adapt", [&](esp_error* error) { return table_.adapt(rank.self, &profile, error); });
}

// Graphs are forgotten. In a dry world nothing has a value.
bool World::adapt() {
  uint64_t capacity = scenario_.budget_device == 0 ? UINT64_MAX : scenario_.budget_device - kOfOthers;
  if (scenario_.tight) {
    capacity = 0;
    for (const auto& rank : ranks_) capacity = std::max(capacity, rank->host->arena.living_bytes(ESP_DEVICE));
  }
  std::vector<std::vector<double>> before;
  for (const auto& rank : ranks_) {
    before.push_back(scenario_.dry ? std::vector<double>() : values_of(rank->shards));
    rank->host->device_limit = capacity;
  }
  graphs_.clear();
  if (!on_ranks([&](Rank& rank) { return call_adapt(rank, capacity); })) return false;
  for (const auto& rank : ranks_) {
    const uint64_t held = rank->host->arena.living_bytes(ESP_DEVICE);
    if (held <= capacity) continue;
    rank->host->found("MEM-08", std::to_string(held) + " bytes are held, " + std::to_string(capacity) + " are there");
  }
  std::vector<std::vector<Shard>> again(ranks_.size());
  if (scenario_.dry) return true;
  if (!on_ranks([&](Rank& rank) { return list(rank, again[static_cast<size_t>(rank.run.rank)]); })) return false;
  for (size_t r = 0; r < ranks_.size(); ++r) {
    const bool same = same_apart_from_addresses(ranks_[r]->shards, again[r]) && before[r] == values_of(again[r]);
    if (!same) ranks_[r]->host->found("STATE-06", "the state differs from the one before adapt");
    ranks_[r]->shards = std::move(again[r]);
  }
  return true;
}

}  // namespace esp::verify
