#include "report/run_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>

#include "error.hpp"
#include "report/durable_file.hpp"

namespace esp {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLock = ".lock";
constexpr const char* kConfig = "config.toml";

[[noreturn]] void refuse(const fs::path& path, const std::string& why) {
  throw Error(ExitCode::kUsage, "run folder " + path.string() + " " + why + "; choose another with --out");
}

[[noreturn]] void cannot_make(const fs::path& path, int error) {
  if (error == ENOTDIR || error == EEXIST) refuse(path, "cannot be made: a file is in the way");
  throw Error(ExitCode::kResource, "run folder " + path.string() + " cannot be made: " + std::strerror(error) +
                                       "; choose another with --out");
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &local);
  return text;
}

void make_parents(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) cannot_make(path, error.value());
}

// mkdir is what decides between two runs that want the same name.
bool make(const fs::path& path) {
  if (mkdir(path.c_str(), 0755) == 0) return true;
  if (errno != EEXIST) cannot_make(path, errno);
  return false;
}

fs::path make_named_folder(const std::string& plugin) {
  const fs::path base = fs::absolute(fs::path("out") / (today() + "-" + plugin_label(plugin)));
  make_parents(base);
  if (make(base)) return base;
  for (int n = 2;; ++n) {
    const fs::path numbered = base.string() + "-" + std::to_string(n);
    if (make(numbered)) return numbered;
  }
}

// True when it was made, false when an empty one is there.
bool make_wanted_folder(const fs::path& path) {
  make_parents(path);
  if (make(path)) return true;
  std::error_code error;
  if (!fs::is_directory(path, error)) refuse(path, "cannot be made: a file is in the way");
  const bool empty = fs::is_empty(path, error);
  if (error) cannot_make(path, error.value());
  if (!empty) refuse(path, "is not empty");
  return false;
}

UniqueFd lock_folder(const fs::path& path) {
  UniqueFd lock(open((path / kLock).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!lock && errno == EEXIST) refuse(path, "was just taken by another run");
  if (!lock) {
    throw Error(ExitCode::kResource, "run folder " + path.string() + " cannot be written: " + std::strerror(errno) +
                                         "; choose another with --out");
  }
  return lock;
}

// Without a last slash, which would hide the folder's own name.
fs::path wanted_path(const std::string& wanted) {
  const fs::path path = fs::absolute(wanted).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

std::string plugin_label(const std::string& plugin) {
  std::string name = plugin.substr(plugin.rfind('/') + 1);
  const size_t component = name.find(':');
  if (component != std::string::npos) name = name.substr(component + 1);
  if (name.starts_with("lib")) name = name.substr(3);
  name = name.substr(0, name.find(".so"));
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-') c = '_';
  }
  return name.empty() ? "run" : name;
}

RunFolder::RunFolder(fs::path path, bool created, UniqueFd lock)
    : path_(std::move(path)), created_(created), lock_(std::move(lock)) {}

RunFolder::~RunFolder() {
  if (!lock_) return;
  std::error_code ignored;
  fs::remove(path_ / kLock, ignored);
  if (kept_ || has_metrics()) return;
  // remove() leaves folders alone that hold something: whatever was written stays.
  for (const auto& entry : fs::directory_iterator(path_, ignored)) {
    if (entry.is_directory(ignored)) fs::remove(entry.path(), ignored);
  }
  size_t left = 0;
  for (const auto& entry : fs::directory_iterator(path_, ignored)) left += entry.path().filename() != kConfig;
  if (left > 0) return;
  fs::remove(path_ / kConfig, ignored);
  if (created_) fs::remove(path_, ignored);
}

bool RunFolder::has_metrics() const {
  std::error_code error;
  const auto size = fs::file_size(path_ / "metrics.jsonl", error);
  return !error && size > 0;
}

RunFolder create_run_folder(const std::string& wanted, const std::string& plugin, const std::string& config_toml) {
  const fs::path path = wanted.empty() ? make_named_folder(plugin) : wanted_path(wanted);
  const bool created = wanted.empty() || make_wanted_folder(path);
  UniqueFd lock;
  try {
    lock = lock_folder(path);
  } catch (const Error&) {
    std::error_code ignored;
    if (created) fs::remove(path, ignored);
    throw;
  }
  RunFolder folder(path, created, std::move(lock));  // from here on it cleans up by itself
  write_whole_file(path / kConfig, config_toml);
  return folder;
}

}  // namespace esp
