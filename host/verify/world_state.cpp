// Filling, listing and checking what ranks hold.
#include <cmath>
#include <cstring>

#include "verify/element.hpp"
#include "verify/world.hpp"

namespace esp::verify {
namespace {

struct Sink {
  RankHost& host;
  std::vector<Shard>& shards;
};

esp_status add_shard(void* ctx, const esp_shard* given, esp_error* error) {
  auto& sink = *static_cast<Sink*>(ctx);
  RankHost& host = sink.host;
  const std::string slot = given->slot == nullptr ? "" : given->slot;
  const bool blob = given->param == ESP_NO_PARAM;
  const bool fits =
      !slot.empty() &&
      (blob || (given->param < Toy::kParams && given->lo < given->hi && given->hi <= host.toy.numel(given->param)));
  const uint64_t bytes = blob ? given->hi : (given->hi - given->lo) * ESP_DTYPE_BYTES(given->dtype);
  const Arena::Allocation* memory = host.arena.find(given->data, bytes);
  if (!fits || (!blob && !is_float(given->dtype)) || memory == nullptr || !memory->living) {
    host.found("STATE-03", "shard \"" + slot + "\" [" + std::to_string(given->lo) + ", " + std::to_string(given->hi) +
                               ") of " + param_text(host.toy, given->param));
    return refuse(error, ESP_E_INVALID, "a shard that does not fit");
  }
  if (!blob) sink.shards.push_back({given->param, slot, given->lo, given->hi, given->data, given->dtype, given->flags});
  return ESP_OK;
}

}  // namespace

bool World::list(Rank& rank, std::vector<Shard>& out) {
  out.clear();
  Sink context{*rank.host, out};
  const esp_shard_sink sink = {sizeof sink, 0, &context, add_shard};
  return call_state(rank, sink);
}

bool World::fill(const Saved* saved) {
  const auto load_all = [&](Rank& rank) {
    if (!list(rank, rank.shards)) return false;
    for (const Shard& shard : rank.shards) {
      for (uint64_t i = shard.lo; i < shard.hi; ++i) {
        double value = 0;
        if (saved != nullptr && saved->count(shard.slot) != 0) {
          value = saved->at(shard.slot)[shard.param][i];
        } else if (shard.slot == "param") {
          value = Toy::initial(shard.param, i);
        }
        store(shard.data, i - shard.lo, shard.dtype, value);
      }
    }
    return true;
  };
  if (!on_ranks(load_all)) return false;
  check_shards();
  return on_ranks([&](Rank& rank) { return call_loaded(rank); });
}

bool World::save(Saved& into) {
  std::vector<std::vector<Shard>> again(ranks_.size());
  const bool fine = on_ranks([&](Rank& rank) { return list(rank, again[static_cast<size_t>(rank.run.rank)]); });
  for (size_t r = 0; fine && r < ranks_.size(); ++r) {
    if (again[r] != ranks_[r]->shards) ranks_[r]->host->found("STATE-04", "the list differs from the first one");
    for (const Shard& shard : again[r]) {
      auto& values = into[shard.slot];
      values.resize(Toy::kParams);
      values[shard.param].resize(toy_.numel(shard.param), std::nan(""));
      for (uint64_t i = shard.lo; i < shard.hi; ++i) {
        const double value = load(shard.data, i - shard.lo, shard.dtype);
        double& known = values[shard.param][i];
        if (!std::isnan(known) && known != value) {
          ranks_[r]->host->found("STATE-05", "\"" + shard.slot + "\" of " + param_text(toy_, shard.param) +
                                                 ", element " + std::to_string(i) + " differs from an earlier rank's");
        }
        known = value;
      }
    }
  }
  return fine;
}

void World::check_shards() {
  check_slot("param", true);
  if (scenario_.infer) return;
  check_slot(scenario_.optimizer.adamw ? "exp_avg" : "momentum", false);
  if (scenario_.optimizer.adamw) check_slot("exp_avg_sq", false);
}

void World::check_slot(const std::string& slot, bool frozen_too) {
  for (uint32_t param = 0; param < Toy::kParams; ++param) {
    if (!frozen_too && !toy_.trainable(param)) continue;
    std::vector<uint32_t> single(toy_.numel(param)), copies(toy_.numel(param));
    for (auto& rank : ranks_) {
      for (const Shard& shard : rank->shards) {
        if (shard.param != param || shard.slot != slot) continue;
        auto& times = (shard.flags & ESP_SHARD_REPLICATED) != 0 ? copies : single;
        for (uint64_t i = shard.lo; i < shard.hi; ++i) ++times[i];
      }
    }
    for (uint64_t i = 0; i < single.size(); ++i) {
      const bool once = single[i] == 1 && copies[i] == 0;
      const bool everywhere = single[i] == 0 && copies[i] == static_cast<uint32_t>(scenario_.world);
      if (once || everywhere) continue;
      Where where;
      where.call = "state";
      findings_.add(slot == "param" ? "STATE-01" : "STATE-02",
                    "\"" + slot + "\" of " + param_text(toy_, param) + ", element " + std::to_string(i) +
                        " is listed " + std::to_string(single[i]) + " times, and " + std::to_string(copies[i]) +
                        " times as replicated",
                    where);
      break;
    }
  }
}

}  // namespace esp::verify
