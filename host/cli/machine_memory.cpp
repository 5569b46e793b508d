#include "cli/machine_memory.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace esp::cli {
namespace {

uint64_t number_in(const char* path) {
  uint64_t value = 0;
  return std::ifstream(path) >> value ? value : UINT64_MAX;  // "max" is no number
}

uint64_t free_memory_of_machine() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string key;
    uint64_t kib = 0;
    if (fields >> key >> kib && key == "MemAvailable:") return kib * 1024;
  }
  return UINT64_MAX;
}

}  // namespace

uint64_t available_memory() {
  const uint64_t machine = free_memory_of_machine();
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  const uint64_t used = number_in("/sys/fs/cgroup/memory.current");
  if (limit == UINT64_MAX || used == UINT64_MAX) return machine;
  return std::min(machine, limit > used ? limit - used : 0);
}

}  // namespace esp::cli
