#include "runtime/device/cuda_library.hpp"

#include <dlfcn.h>
#include <link.h>

#include <filesystem>
#include <string>

#include "error.hpp"

namespace esp::runtime {
namespace {

namespace fs = std::filesystem;

std::string linker_error() {
  const char* text = dlerror();
  return text == nullptr ? "unknown cause" : text;
}

void need_driver() {
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr) return;  // never closed
  throw Error(ExitCode::kResource,
              "run.device = cuda: there is no NVIDIA driver (" + linker_error() + "); use run.device = \"cpu\"");
}

// The folder of the LibTorch that is mapped.
fs::path torch_folder() {
  fs::path folder;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        const fs::path file(info->dlpi_name);
        if (file.filename() == "libtorch_cpu.so") *static_cast<fs::path*>(data) = file.parent_path();
        return 0;
      },
      &folder);
  return folder;
}

void load_torch_cuda() {
  const fs::path file = torch_folder() / "libtorch_cuda.so";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) {
    throw Error(ExitCode::kResource, "run.device = cuda: LibTorch in " + file.parent_path().string() +
                                         " has no CUDA part (libtorch_cuda.so); set ESPALIER_LIBTORCH to one that has");
  }
  if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  throw Error(ExitCode::kResource, "run.device = cuda: LibTorch's CUDA part cannot be loaded: " + linker_error() +
                                       "; install torch with its NVIDIA packages (cuBLAS, cuDNN, NCCL, ...)");
}

// Beside the library that this code is in.
fs::path own_folder() {
  Dl_info self{};
  dladdr(reinterpret_cast<void*>(&load_cuda), &self);
  return fs::path(self.dli_fname).parent_path();
}

CudaApi& open_cuda() {
  const fs::path file = own_folder() / "libespalier_cuda.so";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) {
    throw Error(ExitCode::kResource, "run.device = cuda: this build has no CUDA part (no " + file.string() +
                                         "); build with a CUDA toolkit, or use run.device = \"cpu\"");
  }
  need_driver();
  load_torch_cuda();
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed
  if (handle == nullptr) throw Error(ExitCode::kResource, "the CUDA part cannot be loaded: " + linker_error());
  void* symbol = dlsym(handle, kCudaApiSymbol);
  CudaApi* api = symbol == nullptr ? nullptr : reinterpret_cast<CudaApiFactory>(symbol)(kCudaApiVersion);
  if (api == nullptr) {
    throw Error(ExitCode::kInternal, file.string() + " is of another build than this runtime; build both again");
  }
  return *api;
}

}  // namespace

CudaApi& load_cuda() {
  static CudaApi& api = open_cuda();
  return api;
}

}  // namespace esp::runtime
