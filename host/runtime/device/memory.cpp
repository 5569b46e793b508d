#include "runtime/device/memory.hpp"

#include <algorithm>
#include <utility>

#include "error.hpp"

namespace esp::runtime {
namespace {

constexpr uint64_t kAlignment = 256;

const char* place_name(uint32_t place) { return place == ESP_PINNED ? "pinned" : "device"; }

uint64_t rounded(uint64_t bytes) {
  if (bytes > UINT64_MAX - kAlignment) return bytes;  // fails below, with the number the caller gave
  return std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

MemoryUsage Memory::usage() const {
  std::lock_guard lock(mutex_);
  return usage_;
}

void Memory::reset_peaks() {
  std::lock_guard lock(mutex_);
  usage_.peak = usage_.current;
  usage_.device.peak = usage_.device.current;
  usage_.pinned.peak = usage_.pinned.current;
  usage_.device_peak = usage_.device_current;
  usage_.pinned_peak = usage_.pinned_current;
  usage_.total_peak = usage_.device_current + usage_.pinned_current;
}

Memory::Block Memory::find(const void* pointer, uint64_t bytes) const {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  std::lock_guard lock(mutex_);
  auto after = blocks_.upper_bound(address);
  if (after == blocks_.begin()) return {};
  const auto& [start, block] = *std::prev(after);
  const uint64_t offset = address - start;
  if (offset > block.bytes || bytes > block.bytes - offset || offset == block.bytes) return {};
  return block;
}

void* Memory::take(const Arena& owner, uint32_t place, uint64_t bytes, uint32_t tag) {
  void* memory = allocate(place, bytes);
  if (memory == nullptr) return nullptr;
  std::lock_guard lock(mutex_);
  const Block block{bytes, place, tag, &owner};
  blocks_[reinterpret_cast<uintptr_t>(memory)] = block;
  count(block, true);
  return memory;
}

uint64_t Memory::give_back(const Arena& owner, void* memory, uint32_t& place) {
  Block block;
  {
    std::lock_guard lock(mutex_);
    auto found = blocks_.find(reinterpret_cast<uintptr_t>(memory));
    if (found == blocks_.end() || found->second.owner != &owner) {
      throw Error(ExitCode::kPlugin, owner.owner() + ": frees memory that it did not allocate");
    }
    block = found->second;
    blocks_.erase(found);
    count(block, false);
  }
  place = block.place;
  release(block.place, memory, block.bytes);
  return block.bytes;
}

void Memory::count(const Block& block, bool taken) {
  const uint64_t change = taken ? block.bytes : -block.bytes;
  const auto count_tag = [&](MemoryUsage::ByTag& current, MemoryUsage::ByTag& peak) {
    current[block.tag] += change;
    peak[block.tag] = std::max(peak[block.tag], current[block.tag]);
  };
  MemoryUsage::InPlace& in_place = block.place == ESP_PINNED ? usage_.pinned : usage_.device;
  count_tag(usage_.current, usage_.peak);
  count_tag(in_place.current, in_place.peak);
  (block.place == ESP_PINNED ? usage_.pinned_current : usage_.device_current) += change;
  usage_.device_peak = std::max(usage_.device_peak, usage_.device_current);
  usage_.pinned_peak = std::max(usage_.pinned_peak, usage_.pinned_current);
  usage_.total_peak = std::max(usage_.total_peak, usage_.device_current + usage_.pinned_current);
}

Arena::Arena(Memory& memory, std::string owner, uint64_t budget_device, uint64_t budget_pinned)
    : memory_(memory), owner_(std::move(owner)) {
  budget_[ESP_DEVICE] = budget_device;
  budget_[ESP_PINNED] = budget_pinned;
}

Arena::~Arena() {
  while (!held_.empty()) free(*held_.begin());
}

void* Arena::alloc(uint32_t place, uint64_t bytes, uint32_t tag) {
  if (place != ESP_DEVICE && place != ESP_PINNED) {
    throw Error(ExitCode::kPlugin,
                owner_ + ": place " + std::to_string(place) + " is neither ESP_DEVICE nor ESP_PINNED");
  }
  if (tag >= ESP_N_TAGS) throw Error(ExitCode::kPlugin, owner_ + ": memory tag " + std::to_string(tag) + " is unknown");
  const uint64_t size = rounded(bytes);
  const uint64_t budget = budget_[place];
  const std::string wanted = owner_ + ": " + std::to_string(bytes) + " bytes of " + place_name(place) + " memory";
  if (budget != 0 && (size > budget || used_[place] > budget - size)) {
    throw Error(ExitCode::kResource, wanted + " do not fit: " + std::to_string(used_[place]) + " of the budget of " +
                                         std::to_string(budget) + " bytes (run." + place_name(place) +
                                         "_budget) are taken");
  }
  void* memory = memory_.take(*this, place, size, tag);
  if (memory == nullptr) {
    throw Error(ExitCode::kResource, wanted + " cannot be had (" + std::to_string(used_[place]) +
                                         " held already); use a smaller model or batch, or more ranks");
  }
  used_[place] += size;
  held_.insert(memory);
  return memory;
}

void Arena::free(void* memory) {
  if (memory == nullptr) return;
  uint32_t place = 0;
  const uint64_t bytes = memory_.give_back(*this, memory, place);
  used_[place] -= bytes;
  held_.erase(memory);
}

}  // namespace esp::runtime
