#include "runtime/cuda/nccl_library.hpp"

#include <dlfcn.h>

#include "error.hpp"

namespace esp::runtime {
namespace {

constexpr const char* kName = "libnccl.so.2";
constexpr int kOldest = NCCL_VERSION(2, 18, 1);  // ncclCommSplit

void* open_library() {
  if (void* mapped = dlopen(kName, RTLD_NOW | RTLD_NOLOAD)) return mapped;
  if (void* found = dlopen(kName, RTLD_NOW | RTLD_LOCAL)) return found;
  const char* why = dlerror();
  throw Error(ExitCode::kResource, std::string(kName) + " cannot be loaded (" + (why == nullptr ? "?" : why) +
                                       "); it comes with LibTorch's CUDA libraries");
}

template <class Function>
void look_up(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) throw Error(ExitCode::kResource, std::string(kName) + " has no " + name + ": it is too old");
}

}  // namespace

NcclLibrary::NcclLibrary() {
  void* library = open_library();  // stays open: threads may be in it until the process ends
  look_up(library, "ncclGetVersion", get_version);
  look_up(library, "ncclGetUniqueId", get_unique_id);
  look_up(library, "ncclCommInitRankConfig", comm_init_rank_config);
  look_up(library, "ncclCommSplit", comm_split);
  look_up(library, "ncclCommAbort", comm_abort);
  look_up(library, "ncclCommGetAsyncError", comm_get_async_error);
  look_up(library, "ncclGetErrorString", get_error_string);
  look_up(library, "ncclGetLastError", get_last_error);
  look_up(library, "ncclAllReduce", all_reduce);
  look_up(library, "ncclReduceScatter", reduce_scatter);
  look_up(library, "ncclAllGather", all_gather);
  int version = 0;
  if (get_version(&version) != ncclSuccess || version < kOldest) {
    throw Error(ExitCode::kResource, std::string(kName) + " is version " + std::to_string(version) + "; " +
                                         std::to_string(kOldest) + " or later is needed");
  }
}

const NcclLibrary& NcclLibrary::get() {
  static const NcclLibrary library;
  return library;
}

}  // namespace esp::runtime
