#include "modules/runtime_library.hpp"

#include <dlfcn.h>

#include <map>
#include <string>

#include "modules/libtorch.hpp"
#include "modules/search.hpp"

namespace esp {
namespace {

std::string linker_error() {
  const char* text = dlerror();
  return text == nullptr ? "unknown cause" : text;
}

runtime::Api& open_runtime(const std::filesystem::path& library) {
  std::error_code ignored;
  if (!std::filesystem::exists(library, ignored)) {
    throw Error(ExitCode::kResource,
                "the runtime is missing: no " + library.string() + "; build or unpack Espalier again");
  }
  load_libtorch();
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed
  if (handle == nullptr) throw Error(ExitCode::kResource, "the runtime cannot be loaded: " + linker_error());
  void* symbol = dlsym(handle, runtime::kApiSymbol);
  if (symbol == nullptr) {
    throw Error(ExitCode::kInternal, library.string() + " is not Espalier's runtime: " + linker_error());
  }
  runtime::Api* api = reinterpret_cast<runtime::ApiFactory>(symbol)(runtime::kApiVersion);
  if (api == nullptr) {
    throw Error(ExitCode::kInternal, library.string() + " is of another build than this host; build both again");
  }
  return *api;
}

}  // namespace

std::filesystem::path runtime_library_path() {
  return (executable_folder() / "../lib/libespalier_runtime.so").lexically_normal();
}

runtime::Api& load_runtime(const std::filesystem::path& library) {
  static std::map<std::filesystem::path, runtime::Api*> loaded;
  runtime::Api*& api = loaded[library];
  if (api == nullptr) api = &open_runtime(library);
  return *api;
}

}  // namespace esp
