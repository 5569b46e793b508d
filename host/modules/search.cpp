#include "modules/search.hpp"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "config/resolve.hpp"
#include "modules/load_error.hpp"

namespace esp {
namespace fs = std::filesystem;
namespace {

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) && !fs::is_directory(path, ignored);
}

std::string nearest_library(const std::string& name, const std::vector<fs::path>& folders) {
  std::vector<std::string> names;
  for (const fs::path& folder : folders) {
    const auto found = shared_libraries_in(folder);
    names.insert(names.end(), found.begin(), found.end());
  }
  const std::string whole = "lib" + name + ".so";  // who writes "zero" means libzero.so
  if (std::find(names.begin(), names.end(), whole) != names.end()) return whole;
  return nearest_name(name, names);
}

[[noreturn]] void not_found(const std::string& name, const std::vector<fs::path>& tried,
                            const std::vector<fs::path>& folders) {
  std::string text = "not found; tried ";
  for (size_t i = 0; i < tried.size(); ++i) text += (i > 0 ? ", " : "") + tried[i].string();
  const std::string nearest = nearest_library(fs::path(name).filename().string(), folders);
  if (!nearest.empty()) text += "; did you mean " + nearest + "?";
  throw LoadError(1, name, text + (nearest.empty() ? "; give a path, or its folder in ESPALIER_PLUGIN_PATH" : ""));
}

}  // namespace

fs::path executable_folder() { return fs::read_symlink("/proc/self/exe").parent_path(); }

std::vector<fs::path> plugin_folders() {
  std::vector<fs::path> folders;
  if (const char* listed = std::getenv("ESPALIER_PLUGIN_PATH")) {
    std::istringstream parts(listed);
    for (std::string part; std::getline(parts, part, ':');) {
      if (!part.empty()) folders.emplace_back(part);
    }
  }
  folders.push_back((executable_folder() / "../lib/espalier").lexically_normal());
  return folders;
}

std::vector<std::string> shared_libraries_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ended;
  for (fs::directory_iterator entry(folder, ended), end; !ended && entry != end; entry.increment(ended)) {
    if (entry->path().extension() == ".so" && is_file(entry->path()))
      names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path find_plugin(const std::string& name) {
  if (name.empty()) throw LoadError(1, "\"\"", "no file is named; give a path or a file name such as libddp.so");
  std::vector<fs::path> tried = {fs::absolute(name)};
  std::vector<fs::path> folders = {tried.front().parent_path()};
  if (name.find('/') == std::string::npos) {
    folders = plugin_folders();
    for (const fs::path& folder : folders) tried.push_back(fs::absolute(folder / name));
  }
  for (const fs::path& path : tried) {
    if (is_file(path)) return fs::canonical(path);
  }
  not_found(name, tried, folders);
}

}  // namespace esp
