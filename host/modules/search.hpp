// Where plugin files are looked for.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace esp {

// The folder of the running executable, symlinks resolved.
std::filesystem::path executable_folder();

// The folders that a bare file name is looked up in, in this order: those of ESPALIER_PLUGIN_PATH (colon separated),
// then
// ../lib/espalier beside the executable. They need not exist.
std::vector<std::filesystem::path> plugin_folders();

// The names of the shared libraries (*.so) in a folder, sorted bytewise; empty when there is no such folder.
std::vector<std::string> shared_libraries_in(const std::filesystem::path& folder);

// The file that `name` stands for: a path as given, else a file of that name in plugin_folders(). Absolute, symlinks
// resolved. Throws LoadError L01 with every place that was tried and the nearest name there.
std::filesystem::path find_plugin(const std::string& name);

}  // namespace esp
