// When parameters are used in a step: read off the schedule, never assumed.
#ifndef ESPALIER_KIT_SCHEDULE_HPP
#define ESPALIER_KIT_SCHEDULE_HPP

#include <espalier/view.h>

#include <algorithm>
#include <cstdint>
#include <espalier/failure.hpp>
#include <map>
#include <utility>
#include <vector>

namespace esp {
inline namespace v1_0 ESP_HIDDEN {
namespace kit {

// First and last position in view.train at which an item's unit uses a parameter.
class Schedule {
 public:
  static constexpr uint32_t kNowhere = 0xffffffffu;  // of a parameter that no unit uses

  explicit Schedule(const esp_view& view)
      : n_positions_(view.n_train), first_(view.n_params, kNowhere), last_(view.n_params, kNowhere) {
    for (uint32_t position = 0; position < view.n_train; ++position) {
      const esp_unit& unit = *view.units[view.train[position].unit];
      for (uint32_t i = 0; i < unit.n_uses; ++i) touch(unit.uses[i], position);
    }
  }

  uint32_t n_positions() const { return n_positions_; }
  uint32_t first_use(uint32_t param) const { return first_[param]; }
  // Behind it the parameter's gradient is final and its weights may change.
  uint32_t last_use(uint32_t param) const { return last_[param]; }

 private:
  void touch(uint32_t param, uint32_t position) {
    if (param >= last_.size()) fail(ESP_E_INVALID, "a unit uses parameter ", param, " of ", last_.size());
    first_[param] = std::min(first_[param], position);
    last_[param] = position;
  }

  uint32_t n_positions_;
  std::vector<uint32_t> first_, last_;
};

// Parameters whose gradients are communicated and updated together, as soon as the last of them is final.
struct Bucket {
  uint32_t final_at = Schedule::kNowhere;  // position in view.train; kNowhere: no part of the schedule
  std::vector<uint32_t> params;
};

// Buckets of the given parameters in the order in which they become final: one for each unit that uses some of them
// last, neighbours merged until a bucket has `min_elements`. A parameter that several units share belongs to the last;
// one that no unit uses becomes final with the last item. The schedule must not be empty.
inline std::vector<Bucket> buckets_by_last_use(const esp_view& view, const Schedule& schedule,
                                               const std::vector<uint32_t>& params, uint64_t min_elements) {
  std::vector<std::vector<uint32_t>> final_at(schedule.n_positions());
  for (uint32_t param : params) {
    final_at[std::min(schedule.last_use(param), schedule.n_positions() - 1)].push_back(param);
  }
  std::vector<Bucket> buckets;
  uint64_t elements = min_elements;  // of the last bucket; "enough", so that the first one is opened
  for (uint32_t position = 0; position < schedule.n_positions(); ++position) {
    if (final_at[position].empty()) continue;
    if (buckets.empty() || elements >= min_elements) {
      buckets.emplace_back();
      elements = 0;
    }
    buckets.back().final_at = position;
    for (uint32_t param : final_at[position]) {
      buckets.back().params.push_back(param);
      elements += view.params[param]->numel;
    }
  }
  return buckets;
}

// Buckets of the given parameters for strategies that give memory back as soon as it is not needed: parameters of one
// bucket have the same users, so that one that several units share keeps nothing else alive. In the order in which they
// become final; those that no unit uses come last, as kNowhere.
inline std::vector<Bucket> buckets_by_users(const esp_view& view, const Schedule& schedule,
                                            const std::vector<uint32_t>& params) {
  std::vector<std::vector<uint32_t>> users(view.n_params);
  for (uint32_t unit = 0; unit < view.n_units; ++unit) {
    for (uint32_t i = 0; i < view.units[unit]->n_uses; ++i) users[view.units[unit]->uses[i]].push_back(unit);
  }
  std::map<std::pair<uint32_t, std::vector<uint32_t>>, Bucket> buckets;
  for (uint32_t param : params) {
    Bucket& bucket = buckets[{schedule.last_use(param), users[param]}];
    bucket.final_at = schedule.last_use(param);
    bucket.params.push_back(param);
  }
  std::vector<Bucket> out;
  for (auto& [key, bucket] : buckets) out.push_back(std::move(bucket));
  return out;
}

}  // namespace kit
}  // namespace ESP_HIDDEN
}  // namespace esp
#endif  // ESPALIER_KIT_SCHEDULE_HPP
