#include "config/settings.hpp"

#include <filesystem>
#include <fstream>

#include "config/sweep_document.hpp"
#include "config/toml_document.hpp"
#include "error.hpp"

namespace esp {

namespace fs = std::filesystem;

namespace {

std::string read_text(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error) throw Error(ExitCode::kUsage, path + ": " + error.message());
  // Local ranks read it again, so a pipe would not do.
  if (!fs::is_regular_file(status)) throw Error(ExitCode::kUsage, path + ": not a regular file");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ExitCode::kUsage, path + ": cannot be opened for reading");
  std::string text(kMaxSettingsBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) throw Error(ExitCode::kUsage, path + ": cannot be read");
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

std::string folder_of(const std::string& path) { return fs::absolute(path).parent_path().lexically_normal().string(); }

}  // namespace

Settings read_settings_file(const std::string& path) { return parse_toml(read_text(path), path, folder_of(path)); }

SweepDocument read_sweep_file(const std::string& path) { return parse_sweep(read_text(path), path, folder_of(path)); }

void merge(Settings& into, const Settings& later) {
  for (const auto& [key, setting] : later) into[key] = setting;
}

}  // namespace esp
