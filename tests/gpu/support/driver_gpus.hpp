// GPUs as the driver counts them, for tests that only start processes which use them.
#pragma once

#include <dlfcn.h>

#include <string>

namespace esp::test {

// Says that so many are not there, or nothing.
inline std::string gpus_missing_in_driver(int wanted) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);  // never closed
  if (driver == nullptr) return "a GPU: there is no NVIDIA driver";
  const auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  const auto count_gpus = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDeviceGetCount"));
  int count = 0;
  const bool counted = init != nullptr && count_gpus != nullptr && init(0) == 0 && count_gpus(&count) == 0;
  if (counted && count >= wanted) return "";
  return std::to_string(wanted) + " GPUs, " + std::to_string(count) + " are here";
}

}  // namespace esp::test
