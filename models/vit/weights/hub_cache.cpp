#include "hub_cache.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "../io/files.hpp"

namespace esp::vit {
namespace {

namespace fs = std::filesystem;
constexpr size_t kIdBytes = 96;
constexpr size_t kRefBytes = 256;

bool is_plain(const std::string& part) {
  return !part.empty() && part.front() != '.' && part.front() != '-' &&
         std::all_of(part.begin(), part.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  c == '.';
         });
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// "organisation/name@revision" as its two parts; the revision is "main" when none is given.
std::pair<std::string, std::string> split_revision(const std::string& text) {
  const size_t at = text.find('@');
  if (at == std::string::npos) return {text, "main"};
  return {text.substr(0, at), text.substr(at + 1)};
}

}  // namespace

bool is_hub_id(const std::string& text) {
  const auto [id, revision] = split_revision(text);
  const size_t slash = id.find('/');
  const std::string first = id.substr(0, slash);
  const bool second_ok = slash == std::string::npos || is_plain(id.substr(slash + 1));
  return text.size() <= kIdBytes && is_plain(first) && second_ok && is_plain(revision);
}

std::string hub_cache_root() {
  if (std::string root = environment("HF_HUB_CACHE"); !root.empty()) return root;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface/hub";
  return environment("HOME") + "/.cache/huggingface/hub";
}

std::string find_in_hub_cache(const std::string& text) {
  auto [id, revision] = split_revision(text);
  if (const size_t slash = id.find('/'); slash != std::string::npos) id.replace(slash, 1, "--");
  const fs::path folder = fs::path(hub_cache_root()) / ("models--" + id);
  std::error_code none;
  std::string commit = revision;  // a commit names its snapshot itself
  if (fs::is_regular_file(folder / "refs" / revision, none)) {
    commit = read_small_file((folder / "refs" / revision).string(), kRefBytes);
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
  }
  const fs::path snapshot = folder / "snapshots" / commit;
  return is_plain(commit) && fs::is_directory(snapshot, none) ? snapshot.string() : "";
}

}  // namespace esp::vit
