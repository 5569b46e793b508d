#include "sharded_run.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace {

Values rounded(Values values, const ToySettings& settings) {
  if (settings.precision != ESP_PRECISION_BF16) return values;
  for (auto& array : values) {
    for (float& value : array) {
      from_float(&value, 0, ESP_BF16, value);
      value = to_float(&value, 0, ESP_BF16);
    }
  }
  return values;
}

}  // namespace

Values assembled(const std::vector<ToyRank>& ranks, const std::string& slot) {
  Values out(Toy::kParams);
  std::vector<std::map<uint64_t, int>> times(Toy::kParams);
  for (const ToyRank& rank : ranks) {
    for (const ToyShard& shard : rank.shards_again) {
      if (shard.slot != slot) continue;
      EXPECT_EQ(0u, shard.flags & ESP_SHARD_REPLICATED);
      out[shard.param].resize(std::max<size_t>(out[shard.param].size(), shard.hi));
      for (uint64_t i = shard.lo; i < shard.hi; ++i) {
        EXPECT_EQ(1, ++times[shard.param][i]) << "parameter " << shard.param << ", element " << i;
        out[shard.param][i] = shard.values[i - shard.lo];
      }
    }
  }
  for (uint32_t param = 0; param < Toy::kParams; ++param) EXPECT_EQ(out[param].size(), times[param].size()) << param;
  return out;
}

std::vector<ToySettings> update_variants(const ToySettings& settings) {
  std::vector<ToySettings> variants;
  for (uint32_t n_micro : {1u, 3u}) {
    for (uint32_t flags : {0u, ESP_UPDATE_NORM, ESP_UPDATE_NORM | ESP_UPDATE_BARRIER}) {
      for (uint32_t precision : {ESP_PRECISION_FP32, ESP_PRECISION_BF16}) {
        ToySettings& run = variants.emplace_back(settings);
        run.n_micro = n_micro;
        run.update.flags = flags;
        run.precision = precision;
      }
    }
  }
  return variants;
}

void check_sharded(const ToySettings& settings, const Expected& expected) {
  const auto ranks = train(settings);
  for (const ToyRank& rank : ranks) {
    ASSERT_EQ("", rank.error);
    ASSERT_EQ(std::vector<std::string>(), rank.host->violations);
    EXPECT_EQ(0u, rank.freed_to) << "memory that destroy left behind";
    EXPECT_EQ(rank.shards, rank.shards_again);
    ASSERT_EQ(settings.steps + 1, rank.evaluated.size());
  }
  // Masters, and what every rank computes with: before the first step and behind each.
  EXPECT_EQ(expected(settings), rounded(assembled(ranks, "param"), settings));
  for (uint32_t steps : {0u, settings.steps - 1, settings.steps}) {
    ToySettings part = settings;
    part.steps = steps;
    const Values weights = expected(part);
    for (const ToyRank& rank : ranks) {
      for (uint32_t param = 0; param < Toy::kParams; ++param) {
        if (rank.evaluated[steps][param].empty()) continue;  // no unit uses it
        ASSERT_EQ(weights[param], rank.evaluated[steps][param]) << "parameter " << param << " behind step " << steps;
      }
    }
  }
}
