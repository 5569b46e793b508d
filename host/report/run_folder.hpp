// The folder of one run.
#pragma once

#include <filesystem>
#include <string>

#include "supervisor/unique_fd.hpp"

namespace esp {

// Owns the folder while the run lasts: no other run can take it. In the end its lock file goes, and so does the folder
// itself when nothing came of the run: neither keep() was called nor anything but config.toml was written.
class RunFolder {
 public:
  RunFolder(std::filesystem::path path, bool created, UniqueFd lock);
  RunFolder(RunFolder&& other) noexcept = default;
  RunFolder& operator=(RunFolder&&) = delete;
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }  // absolute
  bool has_metrics() const;                                    // a step was done
  void keep() { kept_ = true; }

 private:
  std::filesystem::path path_;
  bool created_;  // by us: we may remove it
  bool kept_ = false;
  UniqueFd lock_;  // empty after a move: then there is nothing to do in the end
};

// Makes the folder `wanted`, or out/<date>-<plugin>[-n] when that is empty, and writes config.toml into it. `wanted`
// may exist when it is empty. Call it once per run: in the process that the user started, or on rank 0 of a launcher.
// Throws Error(kUsage) for a folder that is not empty or a file in the way, Error(kResource) when it cannot be made or
// written.
RunFolder create_run_folder(const std::string& wanted, const std::string& plugin, const std::string& config_toml);

// "./x/libzero.so" and "libzero.so:zero" -> "zero": what stands in the folder's name.
std::string plugin_label(const std::string& plugin);

}  // namespace esp
