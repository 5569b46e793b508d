#include "verify/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace esp::verify {
namespace {

constexpr uint64_t kGuard = 256;
constexpr unsigned char kGuardByte = 0xa5;
constexpr unsigned char kFreedByte = 0xff;  // NaN in every float dtype
constexpr uint64_t kReservedBytes = 1ull << 36;

char* g_reserved = nullptr;  // one range for the process: the signal handler asks for it
uint64_t g_reserved_used = 0;

uint64_t whole(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

char* reserve(uint64_t bytes) {
  if (g_reserved == nullptr) {
    void* range = mmap(nullptr, kReservedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) throw std::bad_alloc();
    g_reserved = static_cast<char*>(range);
  }
  char* data = g_reserved + g_reserved_used;
  g_reserved_used += whole(bytes) + kGuard;
  return data;
}

bool all_are(const char* data, uint64_t n, unsigned char byte) {
  return std::all_of(data, data + n, [&](char c) { return static_cast<unsigned char>(c) == byte; });
}

}  // namespace

bool is_reserved(const void* address) {
  const auto* at = static_cast<const char*>(address);
  return g_reserved != nullptr && at >= g_reserved && at < g_reserved + kReservedBytes;
}

Arena::~Arena() {
  for (const Allocation& allocation : list_) {
    if (!allocation.reserved) std::free(allocation.data - kGuard);
  }
}

void* Arena::allocate(uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags) {
  Allocation allocation{nullptr, bytes, place, tag, flags, true, reserve_only_};
  if (reserve_only_) {
    allocation.data = reserve(bytes);
  } else {
    const uint64_t size = whole(bytes) + 2 * kGuard;
    auto* memory = static_cast<char*>(std::aligned_alloc(256, size));
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, kGuardByte, size);
    allocation.data = memory + kGuard;
    std::memset(allocation.data, 0, bytes);
  }
  by_address_[allocation.data] = list_.size();
  list_.push_back(allocation);
  return allocation.data;
}

bool Arena::release(void* data) {
  const auto found = by_address_.find(static_cast<char*>(data));
  if (found == by_address_.end() || !list_[found->second].living) return false;
  Allocation& allocation = list_[found->second];
  allocation.living = false;
  if (!allocation.reserved) std::memset(allocation.data, kFreedByte, allocation.bytes);
  return true;
}

const Arena::Allocation* Arena::find(const void* data, uint64_t bytes) const {
  const auto* address = static_cast<const char*>(data);
  auto next = by_address_.upper_bound(address);
  if (next == by_address_.begin()) return nullptr;
  const Allocation& allocation = list_[std::prev(next)->second];
  return address + bytes <= allocation.data + allocation.bytes ? &allocation : nullptr;
}

std::vector<std::string> Arena::damages() const {
  std::vector<std::string> texts;
  for (const Allocation& allocation : list_) {
    if (allocation.reserved) continue;
    const std::string name = "an allocation of " + std::to_string(allocation.bytes) + " bytes";
    const uint64_t tail = whole(allocation.bytes) - allocation.bytes + kGuard;
    if (!all_are(allocation.data - kGuard, kGuard, kGuardByte))
      texts.push_back("bytes before " + name + " were written");
    if (!all_are(allocation.data + allocation.bytes, tail, kGuardByte)) {
      texts.push_back("bytes behind " + name + " were written");
    }
    if (!allocation.living && !all_are(allocation.data, allocation.bytes, kFreedByte)) {
      texts.push_back(name + " was written after it was freed");
    }
  }
  return texts;
}

uint64_t Arena::living() const {
  return static_cast<uint64_t>(std::count_if(list_.begin(), list_.end(), [](const auto& a) { return a.living; }));
}

uint64_t Arena::living_bytes(uint32_t place) const {
  uint64_t sum = 0;
  for (const Allocation& allocation : list_) {
    if (allocation.living && allocation.place == place) sum += whole(allocation.bytes);
  }
  return sum;
}

}  // namespace esp::verify
