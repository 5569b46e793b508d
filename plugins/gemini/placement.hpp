// Decides where chunks live.
#pragma once

#include <espalier/kit/param_cache.hpp>

#include "chunks.hpp"

namespace gemini {

struct PlacementOptions {
  bool automatic = false;
  double parameter_offload = 0, optimizer_offload = 0;  // of all elements, of the trained ones: on the CPU
  double budget_fraction = 1;                           // automatic: see the option device_budget_fraction
  uint32_t weight_slots = 0;                            // not automatic: chunks gathered at once, at least
  bool prefetch = true;
};

// Uses of the chunks that have to be fetched.
esp::kit::BlockUses fetched(const Chunks& chunks, esp::kit::BlockUses uses);

// Slots for gradients, and the elements that the largest of their chunks has.
struct GradientSlots {
  uint32_t count = 0;
  uint64_t elements = 0;
};
GradientSlots gradient_slots(const Chunks& chunks);

// Sets chunks.tiers and returns the number of slots for weights. The same on every rank. Throws Failure
// (ESP_E_DEVICE_MEMORY) with the numbers when the budget of the run is too small.
uint32_t place(Chunks& chunks, const PlacementOptions& options);

}  // namespace gemini
