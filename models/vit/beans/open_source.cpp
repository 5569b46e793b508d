#include <filesystem>
#include <system_error>

#include "data_error.hpp"
#include "sample_source.hpp"

namespace esp::vit {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLayout =
    "train/, validation/ and test/ with a folder per class, or train.zip, validation.zip and test.zip";

void require_folder(const std::string& path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (!fs::exists(status)) {
    const bool missing = !failure || failure == std::errc::no_such_file_or_directory;
    throw DataError(ESP_E_IO, "data.path " + printable(path) + ": " + (missing ? "no such folder" : failure.message()));
  }
  if (!fs::is_directory(status)) {
    throw DataError("data.path " + printable(path) + " is a file; give the folder that holds " + kLayout);
  }
}

bool any_split(const std::string& path, const char* ending, bool folder) {
  for (const char* split : kSplitNames) {
    for (const std::string& alias : split_aliases(split)) {
      std::error_code ignored;
      const fs::path candidate = fs::path(path) / (alias + ending);
      if (folder ? fs::is_directory(candidate, ignored) : fs::is_regular_file(candidate, ignored)) return true;
    }
  }
  return false;
}

}  // namespace

std::unique_ptr<SampleSource> open_source(const std::string& path, const LeafCounts& counts) {
  if (path.empty()) return draw_leaves(counts, kLeafSeed);
  require_folder(path);
  if (any_split(path, "", true)) return open_folder(path);
  if (any_split(path, ".zip", false)) return open_zips(path);
  throw DataError("data.path " + printable(path) + " holds no split: " + kLayout + " are looked for");
}

}  // namespace esp::vit
