#include "placement.hpp"

#include <optional>

namespace gemini {
namespace {

using esp::kit::ParamCache;

constexpr uint64_t kUnit = 256;  // the host rounds what it allocates

uint64_t allocated(uint64_t elements, esp_dtype dtype) {
  return (elements * ESP_DTYPE_BYTES(dtype) + kUnit - 1) / kUnit * kUnit;
}

uint32_t weight_slots_needed(const Chunks& chunks, bool prefetch) {
  return ParamCache::slots_needed(fetched(chunks, chunks.train), fetched(chunks, chunks.eval), prefetch);
}

std::set<uint32_t> fetched_chunks(const Chunks& chunks) {
  return ParamCache::used_blocks(fetched(chunks, chunks.train), fetched(chunks, chunks.eval));
}

uint64_t optimizer_bytes(const Chunks& chunks, uint64_t elements) {
  const esp_update_desc& desc = chunks.host.update.desc();
  uint64_t bytes = chunks.masters_at_home(Tier::kDevice) ? 0 : allocated(elements, desc.master);
  for (uint32_t i = 0; i < desc.n_slots; ++i) bytes += allocated(elements, desc.slots[i]->dtype);
  return bytes;
}

// What the strategy takes of the device with chunks.tiers as they are.
uint64_t device_bytes(const Chunks& chunks, uint32_t weight_slots, bool prefetch) {
  uint64_t bytes = 0, largest = 0;
  for (const Block& chunk : chunks.layout.blocks()) {
    const uint64_t part = chunks.part(chunk);
    if (home_place(chunks.tier(chunk)) == ESP_DEVICE) bytes += allocated(part, chunks.compute_t);
    if (!chunks.trained(chunk) || update_place(chunks.tier(chunk)) != ESP_DEVICE) continue;
    bytes += allocated(part, chunks.sum_dtype()) + optimizer_bytes(chunks, part);
  }
  for (uint32_t chunk : fetched_chunks(chunks)) largest = std::max(largest, chunks.layout.blocks()[chunk].size());
  bytes += weight_slots * allocated(largest, chunks.compute_t);
  if (chunks.n_trained == 0) return bytes;
  const GradientSlots slots = gradient_slots(chunks, prefetch);
  return bytes + slots.count * allocated(slots.elements, chunks.compute_t);
}

// The first chunks of n, as many as come nearest to a fraction of their elements.
uint32_t first_chunks(const Chunks& chunks, uint32_t n, double fraction) {
  uint64_t total = 0, before = 0;
  for (uint32_t i = 0; i < n; ++i) total += chunks.part(chunks.layout.blocks()[i]);
  uint32_t count = 0;
  for (; count < n; ++count) {
    const uint64_t size = chunks.part(chunks.layout.blocks()[count]);
    const double middle = static_cast<double>(before) + static_cast<double>(size) / 2;
    if (middle >= fraction * static_cast<double>(total)) break;
    before += size;
  }
  return count;
}

// How many of the first chunks have homes, and how many of the trained ones are updated, in host memory.
struct Candidate {
  uint32_t homes, updates;
};

// The first chunks go to the host: their gradients are final first and their next use is farthest, which leaves the CPU
// the most time.
void assign(Chunks& chunks, const Candidate& on_host) {
  for (uint32_t i = 0; i < chunks.tiers.size(); ++i) {
    const bool cpu = i < chunks.n_trained && i < on_host.updates;
    chunks.tiers[i] = i < on_host.homes ? Tier::kHost : (cpu ? Tier::kCpuUpdate : Tier::kDevice);
  }
}

// By how much is on the host: optimizer state goes first, as it is not needed until the gradients are there.
std::vector<Candidate> candidates(const Chunks& chunks) {
  std::vector<Candidate> out;
  for (uint32_t updates = 0; updates <= chunks.n_trained; ++updates) out.push_back({0, updates});
  for (uint32_t homes = 1; homes <= chunks.tiers.size(); ++homes) out.push_back({homes, chunks.n_trained});
  return out;
}

struct Smallest {
  uint64_t bytes = ~uint64_t{0};
  size_t candidate = 0;
};
Smallest smallest(Chunks chunks, bool prefetch) {
  Smallest least;
  const std::vector<Candidate> all = candidates(chunks);
  for (size_t i = 0; i < all.size(); ++i) {
    assign(chunks, all[i]);
    const uint64_t bytes = device_bytes(chunks, weight_slots_needed(chunks, prefetch), prefetch);
    if (bytes < least.bytes) least = {bytes, i};
  }
  return least;
}

// budget: what it is and whose.
[[noreturn]] void refuse(const Chunks& chunks, const PlacementOptions& options, uint64_t bytes,
                         const std::string& budget) {
  const uint64_t possible = smallest(chunks, options.prefetch).bytes;
  const uint64_t bare = smallest(chunks, false).bytes;
  std::string message = budget + ", ";
  message += options.automatic ? "" : "this placement takes " + std::to_string(bytes) + "; ";
  message += "the smallest that would do is " + std::to_string(possible);
  if (options.prefetch && bare < possible) message += " (" + std::to_string(bare) + " with prefetch = false)";
  if (!options.automatic) message += " with placement = \"auto\"";
  throw esp::Failure(ESP_E_DEVICE_MEMORY, message);
}

std::string budget_text(uint64_t bytes) { return "the device budget is " + std::to_string(bytes) + " bytes"; }

uint64_t part_of(uint64_t bytes, double fraction) {
  return fraction < 1 ? static_cast<uint64_t>(fraction * static_cast<double>(bytes)) : bytes;
}

uint32_t place_static(Chunks& chunks, const PlacementOptions& options) {
  const auto n = static_cast<uint32_t>(chunks.tiers.size());
  assign(chunks, {first_chunks(chunks, n, options.parameter_offload),
                  first_chunks(chunks, chunks.n_trained, options.optimizer_offload)});
  const uint32_t wanted = std::min(options.weight_slots, static_cast<uint32_t>(fetched_chunks(chunks).size()));
  const uint32_t slots = std::max(wanted, weight_slots_needed(chunks, options.prefetch));
  const uint64_t budget = chunks.host.run().budget_device, bytes = device_bytes(chunks, slots, options.prefetch);
  if (budget != 0 && bytes > budget) refuse(chunks, options, bytes, budget_text(budget));
  return slots;
}

// The first candidate of [0, end) that the budget holds, if there is one; what is left keeps more chunks gathered.
std::optional<uint32_t> place_within(Chunks& chunks, const PlacementOptions& options, size_t end, uint64_t budget) {
  const std::vector<Candidate> all = candidates(chunks);
  for (size_t i = 0; i < end; ++i) {
    assign(chunks, all[i]);
    uint32_t slots = weight_slots_needed(chunks, options.prefetch);
    if (device_bytes(chunks, slots, options.prefetch) > budget) continue;
    while (slots < fetched_chunks(chunks).size() && device_bytes(chunks, slots + 1, options.prefetch) <= budget)
      ++slots;
    return slots;
  }
  return std::nullopt;
}

// Without a profile to come: within the budget, or within a part of what all on the device would take.
uint32_t place_automatically(Chunks& chunks, const PlacementOptions& options) {
  uint64_t whole = chunks.host.run().budget_device;
  if (whole == 0) {
    assign(chunks, {0, 0});
    whole = device_bytes(chunks, weight_slots_needed(chunks, options.prefetch), options.prefetch);
  }
  const uint64_t budget = part_of(whole, options.budget_fraction);
  const auto slots = place_within(chunks, options, candidates(chunks).size(), budget);
  if (!slots) refuse(chunks, options, 0, budget_text(budget));
  return *slots;
}

// Until the profile is there.
uint32_t place_smallest(Chunks& chunks, const PlacementOptions& options) {
  const uint64_t budget = part_of(chunks.host.run().budget_device, options.budget_fraction);
  const Smallest least = smallest(chunks, options.prefetch);
  if (least.bytes > budget) refuse(chunks, options, 0, budget_text(budget));
  assign(chunks, candidates(chunks)[least.candidate]);
  return weight_slots_needed(chunks, options.prefetch);
}

}  // namespace

esp::kit::BlockUses fetched(const Chunks& chunks, esp::kit::BlockUses uses) {
  for (std::vector<uint32_t>& used : uses) {
    const auto at_home = [&](uint32_t chunk) { return chunks.used_at_home(chunk); };
    used.erase(std::remove_if(used.begin(), used.end(), at_home), used.end());
  }
  return uses;
}

GradientSlots gradient_slots(const Chunks& chunks, bool ahead) {
  const auto needs = [&](uint32_t chunk) { return chunks.needs_gradient_slot(chunk); };
  GradientSlots slots;
  for (uint32_t chunk = 0; chunk < chunks.n_trained; ++chunk) {
    if (!needs(chunk)) continue;
    ++slots.count;
    slots.elements = std::max(slots.elements, chunks.layout.blocks()[chunk].size());
  }
  slots.count = std::min(slots.count, chunks.windows.most_open(needs) + (ahead ? 1 : 0));
  return slots;
}

bool adapts(const Chunks& chunks, const PlacementOptions& options) {
  return options.automatic && chunks.trains() && chunks.host.run().budget_device != 0;
}

uint32_t place(Chunks& chunks, const PlacementOptions& options) {
  chunks.tiers.assign(chunks.layout.blocks().size(), Tier::kDevice);
  if (adapts(chunks, options)) return place_smallest(chunks, options);
  return options.automatic ? place_automatically(chunks, options) : place_static(chunks, options);
}

// Candidates before the smallest differ from it by chunks that come nearer to the device, and never the other way.
uint32_t promote(Chunks& chunks, const PlacementOptions& options, uint64_t capacity) {
  const uint64_t budget = part_of(capacity, options.budget_fraction);
  const auto slots = place_within(chunks, options, smallest(chunks, options.prefetch).candidate + 1, budget);
  if (slots) return *slots;
  refuse(chunks, options, 0,
         budget_text(chunks.host.run().budget_device) + ", of which model and host leave " + std::to_string(budget) +
             " to the strategy");
}

}  // namespace gemini
