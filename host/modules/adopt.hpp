// Copies a plugin's or host's table into a full-size one of our own: only the fields that the other side has, the rest
// zero. So hot calls need no size checks and a shorter (older) table is no special case.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace esp {

// `table` begins with its struct_size. Sizes larger than ours are fine: the tail is unknown to us and ignored.
template <class T>
T adopt(const void* table) {
  static_assert(std::is_trivially_copyable_v<T>);
  uint32_t size = 0;
  std::memcpy(&size, table, sizeof size);
  T mine{};
  const uint32_t taken = std::min<uint32_t>(size, sizeof(T));
  std::memcpy(static_cast<void*>(&mine), table, taken);
  mine.struct_size = taken;
  return mine;
}

}  // namespace esp
