// The folder of one run.
#pragma once

#include <filesystem>
#include <string>

#include "supervisor/unique_fd.hpp"

namespace esp {

// Owns the folder while the run lasts: no other run can take it. Removes its lock file in the end.
class RunFolder {
 public:
  RunFolder(std::filesystem::path path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  RunFolder(RunFolder&&) = default;
  RunFolder& operator=(RunFolder&&) = delete;
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }  // absolute

 private:
  std::filesystem::path path_;
  UniqueFd lock_;
};

// Makes the folder `wanted`, or out/<date>-<plugin>[-n] when that is empty, and writes config.toml into it. `wanted` may
// exist when it is empty. Call it once per run: in the process that the user started, or on rank 0 of a launcher. Throws
// Error(kUsage) for a folder that is not empty or a file in the way, Error(kResource) when it cannot be made or written.
RunFolder create_run_folder(const std::string& wanted, const std::string& plugin, const std::string& config_toml);

// "libzero.so:zero" and "./x/libzero.so" -> "zero": what stands in the folder's name.
std::string plugin_label(const std::string& plugin);

}  // namespace esp
