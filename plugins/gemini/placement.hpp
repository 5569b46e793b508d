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

// Slots for gradients, and the elements that the largest of their chunks has. ahead: a unit writes its gradients while
// those of the one before are reduced.
struct GradientSlots {
  uint32_t count = 0;
  uint64_t elements = 0;
};
GradientSlots gradient_slots(const Chunks& chunks, bool ahead);

// Whether a profile decides: automatic training within a budget.
bool adapts(const Chunks& chunks, const PlacementOptions& options);

// Both set chunks.tiers and return the number of slots for weights, the same on every rank. Throw Failure
// (ESP_E_DEVICE_MEMORY) with the numbers when the budget is too small.
// In prepare; the smallest placement where adapt will follow.
uint32_t place(Chunks& chunks, const PlacementOptions& options);
// In adapt: brings as many chunks to the device as `capacity` bytes hold.
uint32_t promote(Chunks& chunks, const PlacementOptions& options, uint64_t capacity);

}  // namespace gemini
