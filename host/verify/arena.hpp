// The memory of one instance: every range that a plugin names is looked up here.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace esp::verify {

// Address space that must not be touched: given out in the dry run. Whether `address` lies in it. [signal handler]
bool is_reserved(const void* address);

class Arena {
 public:
  struct Allocation {
    char* data = nullptr;
    uint64_t bytes = 0;
    uint32_t place = 0, tag = 0, flags = 0;
    bool living = true;
    bool reserved = false;
    bool operator==(const Allocation& other) const {
      return bytes == other.bytes && place == other.place && tag == other.tag && flags == other.flags;
    }
  };

  explicit Arena(bool reserve_only = false) : reserve_only_(reserve_only) {}
  Arena(const Arena&) = delete;
  ~Arena();

  void* allocate(uint32_t place, uint64_t bytes, uint32_t tag, uint32_t flags);  // zeroed, between guards
  // Fills it with NaN and keeps it. false: it was never given, or is freed already.
  bool release(void* data);
  // The allocation that holds the whole range, living ones first; NULL when there is none.
  const Allocation* find(const void* data, uint64_t bytes) const;
  // Descriptions of guards and freed ranges that were written.
  std::vector<std::string> damages() const;

  const std::vector<Allocation>& history() const { return list_; }  // in the order of the calls
  uint64_t living() const;
  uint64_t living_bytes(uint32_t place) const;

 private:
  bool reserve_only_;
  std::vector<Allocation> list_;
  std::map<const char*, size_t> by_address_;
};

}  // namespace esp::verify
