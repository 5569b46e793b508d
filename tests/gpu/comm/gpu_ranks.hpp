// Ranks on GPUs as child processes of a test, which itself never touches a GPU: a process that did must not fork.
#pragma once

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "ranks.hpp"
#include "runtime/comm/rendezvous.hpp"
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
  for (const std::string& file : {torch_cuda_file(), own}) {
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

// Why there are not so many GPUs here, or empty. Asks a child.
inline std::string missing_gpus(int wanted) {
  int answer[2];
  if (pipe(answer) != 0) return "no pipe";
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    std::string reason;
    try {
      const int count = cuda().device_count();
      if (count < wanted) reason = std::to_string(wanted) + " GPUs are needed, " + std::to_string(count) + " are here";
    } catch (const std::exception& failure) {
      reason = failure.what();
    }
    const bool said = reason.empty() || write(answer[1], reason.data(), reason.size()) > 0;
    _exit(said ? 0 : 1);
  }
  close(answer[1]);
  std::string reason(1024, '\0');
  const ssize_t got = read(answer[0], reason.data(), reason.size());
  reason.resize(got > 0 ? static_cast<size_t>(got) : 0);
  close(answer[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? reason : "asking for GPUs ended with status " + std::to_string(status);
}

}  // namespace esp::runtime::test
