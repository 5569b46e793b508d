#include "modules/libtorch.hpp"

#include <dlfcn.h>
#include <link.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

#include "error.hpp"

namespace esp {
namespace fs = std::filesystem;
namespace {

constexpr const char* kVersion = ESPALIER_TORCH_VERSION;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// "2.11.0+cu130", from torch/version.py of a wheel or build-version of a LibTorch folder.
std::string read_version(const fs::path& root) {
  std::string line;
  for (std::ifstream file(root / "version.py"); std::getline(file, line);) {
    if (!line.starts_with("__version__")) continue;
    const size_t open = line.find_first_of("'\""), close = line.find_last_of("'\"");
    if (open < close && close != std::string::npos) return line.substr(open + 1, close - open - 1);
  }
  std::ifstream file(root / "build-version");
  return std::getline(file, line) ? line : "";
}

// The folder of a torch package that python3 would import, without importing it (that takes seconds).
std::string python_torch() {
  static constexpr const char* kCommand =
      "python3 -c \"import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0])\" "
      "2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(kCommand, "r"), pclose);
  std::string text;
  std::array<char, 256> part;
  while (pipe && std::fgets(part.data(), part.size(), pipe.get()) != nullptr) text += part.data();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string cache_folder() {
  const std::string cache = environment("XDG_CACHE_HOME");
  const std::string home = cache.empty() ? environment("HOME") + "/.cache" : cache;
  return home + "/espalier/libtorch-" + kVersion;
}

// Tries places one after the other and remembers what was wrong with each.
class Search {
 public:
  // True when the folder holds the LibTorch that is wanted.
  bool try_folder(const std::string& place, const std::string& folder) {
    if (folder.empty()) {
      complain(place + ": not set");
      return false;
    }
    found_ = libtorch_in(folder);
    if (found_ && found_->version == kVersion) return true;
    complain(place + ": " + folder +
             (found_ ? " is LibTorch " + found_->version + found_->tag : " holds no lib/libtorch_cpu.so"));
    return false;
  }

  const LibTorch& found() const { return *found_; }

  [[noreturn]] void fail() const {
    throw Error(ExitCode::kResource, std::string("no LibTorch ") + kVersion + " found (" + complaints_ +
                                         "); run 'make setup', or set ESPALIER_LIBTORCH to its folder");
  }

 private:
  void complain(const std::string& text) { complaints_ += (complaints_.empty() ? "" : "; ") + text; }

  std::optional<LibTorch> found_;
  std::string complaints_;
};

void map_globally(const fs::path& file) {
  if (dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  const char* text = dlerror();
  throw Error(ExitCode::kResource,
              "LibTorch cannot be loaded: " + std::string(text == nullptr ? "unknown cause" : text) + "; is " +
                  file.parent_path().string() +
                  " complete? Run 'make setup', or set "
                  "ESPALIER_LIBTORCH");
}

}  // namespace

std::string LibTorch::stamp() const { return version + tag + " cxx11"; }  // the only C++ ABI of LibTorch since 2.7

std::optional<LibTorch> libtorch_in(const fs::path& folder) {
  for (const fs::path& lib : {folder / "lib", folder / "torch/lib", folder}) {
    std::error_code ignored;
    if (!fs::exists(lib / "libtorch_cpu.so", ignored) || !fs::exists(lib / "libc10.so", ignored)) continue;
    const fs::path real = fs::canonical(lib, ignored);
    const std::string version = read_version(real.parent_path());
    const size_t plus = std::min(version.find('+'), version.size());
    return LibTorch{real, version.substr(0, plus), version.substr(plus)};
  }
  return std::nullopt;
}

LibTorch search_libtorch() {
  Search search;
  const std::string named = environment("ESPALIER_LIBTORCH");
  if (search.try_folder("ESPALIER_LIBTORCH", named)) return search.found();
  if (!named.empty()) search.fail();
  if (search.try_folder("built with", ESPALIER_BUILD_LIBTORCH)) return search.found();
  if (search.try_folder("cache", cache_folder())) return search.found();
  if (search.try_folder("python3", python_torch())) return search.found();
  search.fail();
}

const LibTorch& find_libtorch() {
  static const LibTorch found = search_libtorch();
  return found;
}

void load_libtorch() {
  static const bool loaded = [] {
    map_globally(find_libtorch().folder / "libc10.so");
    map_globally(find_libtorch().folder / "libtorch_cpu.so");
    return true;
  }();
  static_cast<void>(loaded);
}

std::vector<std::string> mapped_files(const std::string& file_name) {
  struct Query {
    const std::string& name;
    std::vector<std::string> paths;
  } query{file_name, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& wanted = *static_cast<Query*>(data);
        if (fs::path(info->dlpi_name).filename() == wanted.name) wanted.paths.emplace_back(info->dlpi_name);
        return 0;
      },
      &query);
  return query.paths;
}

}  // namespace esp
