// Which LibTorch this process uses, and mapping it. The host links none: it is found when something needs it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace esp {

struct LibTorch {
  std::filesystem::path folder;  // holds libtorch_cpu.so and libc10.so
  std::string version;           // "2.11.0"
  std::string tag;               // "+cu130", or empty
  std::string stamp() const;     // "2.11.0+cu130 cxx11": what a module built with it has in its note
};

// The LibTorch of a folder that has lib/ or torch/lib/, or is that lib/ folder; empty when there is none.
std::optional<LibTorch> libtorch_in(const std::filesystem::path& folder);

// Looks at $ESPALIER_LIBTORCH, the LibTorch this host was built with, the cache of `make setup`, and a python3 that has
// torch. Other versions than the one built with are passed over. The answer is kept. Throws Error(kResource) with all
// places and what was wrong there; a wrong ESPALIER_LIBTORCH is an error even if another place would do.
const LibTorch& find_libtorch();

// The same, looked up anew.
LibTorch search_libtorch();

// Maps libc10.so and libtorch_cpu.so of find_libtorch() with global scope, so that the runtime and modules that name
// them get these. A second call does nothing. [main] Throws Error(kResource).
void load_libtorch();

// Paths of the mapped files with this name ("libtorch_cpu.so"): more than one is a mix-up.
std::vector<std::string> mapped_files(const std::string& file_name);

}  // namespace esp
