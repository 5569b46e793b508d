// Memory of a device by place, owner and tag: who holds how much, and whether a pointer is what it is used as.
#pragma once

#include <espalier/host.h>

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace esp::runtime {

struct MemoryUsage {
  using ByTag = std::array<uint64_t, ESP_N_TAGS>;
  struct InPlace {
    ByTag current{}, peak{};
  };
  ByTag current{};  // bytes, both places together
  ByTag peak{};     // each tag's own peak
  InPlace device, pinned;
  uint64_t device_current = 0, device_peak = 0;
  uint64_t pinned_current = 0, pinned_peak = 0;
  uint64_t total_peak = 0;  // of both places at the same moment
};

class Arena;

// All blocks of one device. Thread-safe.
class Memory {
 public:
  virtual ~Memory() = default;

  MemoryUsage usage() const;
  void reset_peaks();  // peaks become the current values

  // Where a block lies and whose it is.
  struct Block {
    uint64_t bytes = 0;
    uint32_t place = 0;  // ESP_DEVICE, ESP_PINNED
    uint32_t tag = 0;
    const Arena* owner = nullptr;
  };
  // The block that holds all of [pointer, pointer + bytes), or a Block of 0 bytes.
  Block find(const void* pointer, uint64_t bytes) const;

 protected:
  virtual void* allocate(uint32_t place, uint64_t bytes) = 0;  // zeroed, 256-aligned; NULL when there is none
  virtual void release(uint32_t place, void* memory, uint64_t bytes) = 0;

 private:
  friend class Arena;
  void* take(const Arena& owner, uint32_t place, uint64_t bytes, uint32_t tag);
  uint64_t give_back(const Arena& owner, void* memory,
                     uint32_t& place);  // returns its bytes; throws when not the owner's
  void count(const Block& block, bool taken);

  mutable std::mutex mutex_;
  std::map<uintptr_t, Block> blocks_;  // by address
  MemoryUsage usage_;
};

// What one owner (an instance, the training loop) holds; frees it all at the end. The caller sees to it that no queue
// still uses what is freed. One thread at a time.
class Arena {
 public:
  // Budgets in bytes; 0 = no limit.
  Arena(Memory& memory, std::string owner, uint64_t budget_device = 0, uint64_t budget_pinned = 0);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeroed, 256-aligned, never NULL (0 bytes take 256). Sizes are rounded up to 256. Throws Error(kResource) with the
  // numbers when the budget or the memory is exhausted.
  void* alloc(uint32_t place, uint64_t bytes, uint32_t tag);
  void free(void* memory);  // NULL is ignored; throws Error(kPlugin) for memory that is not this arena's

  uint64_t used(uint32_t place) const { return used_[place]; }
  const std::string& owner() const { return owner_; }

 private:
  Memory& memory_;
  std::string owner_;
  uint64_t budget_[3] = {};  // by place
  uint64_t used_[3] = {};
  std::set<void*> held_;
};

}  // namespace esp::runtime
