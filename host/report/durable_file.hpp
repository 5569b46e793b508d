// Files of a run, written so that a crash leaves whole lines or whole files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "supervisor/unique_fd.hpp"

namespace esp {

// A new file that grows by whole records, each in one write(). All functions throw Error(kResource) naming the file.
class RecordFile {
 public:
  explicit RecordFile(std::filesystem::path path);  // fails when the file exists
  void append(std::string_view record);

 private:
  std::filesystem::path path_;
  UniqueFd fd_;
};

// Replaces the file as a whole: the old content or the new one, never a part. Throws Error(kResource).
void write_whole_file(const std::filesystem::path& path, std::string_view content);

}  // namespace esp
