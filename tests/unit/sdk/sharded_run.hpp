// Checks of strategies whose ranks hold parts.
#pragma once

#include <functional>

#include "toy_run.hpp"

// What all ranks together list of a slot behind the last step; a failure of the test unless each element is there once.
Values assembled(const std::vector<ToyRank>& ranks, const std::string& slot);

// Weights as the model sees them behind `steps` steps.
using Expected = std::function<Values(const ToySettings& settings)>;

// With one and three micro-batches, each with every use of the norm, each in fp32 and bf16.
std::vector<ToySettings> update_variants(const ToySettings& settings);

// Trains. No hazard, no memory left behind, the same shards before and after; masters, and what each rank computes with
// before the first step and behind each, are the expected ones bit for bit.
void check_sharded(const ToySettings& settings, const Expected& expected);
