// libespalier_cuda.so for tests.
#pragma once

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "need.hpp"
#include "runtime/cuda/cuda_api.hpp"

namespace esp::runtime::test {

inline std::string torch_cuda_file() {
  std::filesystem::path file("libtorch_cuda.so");
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        const std::filesystem::path mapped(info->dlpi_name);
        if (mapped.filename() == "libtorch_cpu.so") {
          *static_cast<std::filesystem::path*>(data) = mapped.parent_path() / "libtorch_cuda.so";
        }
        return 0;
      },
      &file);
  return file;
}

inline CudaApi& open_cuda_for_tests() {
  const char* moved = std::getenv("ESPALIER_STAGE");
  const std::string own = std::string(moved == nullptr ? ESPALIER_STAGE : moved) + "/lib/libespalier_cuda.so";
  void* library = nullptr;
  for (const std::string& file : {std::string("libcuda.so.1"), torch_cuda_file(), own}) {
    library = dlopen(file.c_str(), RTLD_NOW | (file == own ? RTLD_LOCAL : RTLD_GLOBAL));
    if (library == nullptr) throw std::runtime_error(dlerror());
  }
  void* factory = dlsym(library, kCudaApiSymbol);
  if (factory == nullptr) throw std::runtime_error(dlerror());
  return *reinterpret_cast<CudaApiFactory>(factory)(kCudaApiVersion);
}

inline CudaApi& cuda() {
  static CudaApi& api = open_cuda_for_tests();
  return api;
}

// Why this process has not so many GPUs, or empty. Starts the driver here.
inline std::string gpus_missing_here(int wanted) {
  try {
    const int count = cuda().device_count();
    if (count >= wanted) return "";
    return std::to_string(wanted) + " GPUs, " + std::to_string(count) + " are here";
  } catch (const std::exception& failure) {
    return "a GPU: " + std::string(failure.what());
  }
}

}  // namespace esp::runtime::test
