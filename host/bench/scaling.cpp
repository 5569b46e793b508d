#include "bench/scaling.hpp"

#include <algorithm>

namespace esp::bench {
namespace {

constexpr const char* kRanks = "run.nproc";

SweptValues without_ranks(const Row& row) {
  SweptValues rest;
  for (const auto& setting : row.swept) {
    if (setting.first != kRanks) rest.push_back(setting);
  }
  return rest;
}

}  // namespace

double scaling_efficiency(const SweepResult& result, const Row& row) {
  if (!row.done() || row.world_size < 1) return kUnknown;
  if (row.world_size == 1) return 1;
  const auto is_alone = [&](const Row& other) {
    const bool same_program = other.external == row.external && (!row.external || other.plugin == row.plugin);
    return other.done() && other.world_size == 1 && same_program && without_ranks(other) == without_ranks(row);
  };
  const auto alone = std::find_if(result.rows.begin(), result.rows.end(), is_alone);
  if (alone == result.rows.end()) return kUnknown;
  return row.samples_per_second() / (static_cast<double>(row.world_size) * alone->samples_per_second());
}

}  // namespace esp::bench
