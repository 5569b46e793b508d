// Loads libespalier_runtime.so, the part of the host that links LibTorch, when training starts.
#pragma once

#include <filesystem>

#include "runtime/api.hpp"

namespace esp {

// Where the library lies in an installed or staged tree: ../lib beside the executable.
std::filesystem::path runtime_library_path();

// Maps LibTorch and the runtime. A second call gives the same object, which lives until the process ends. [main]
// Throws Error(kResource) when LibTorch or the file is missing, Error(kInternal) when it is of another build.
runtime::Api& load_runtime(const std::filesystem::path& library = runtime_library_path());

}  // namespace esp
