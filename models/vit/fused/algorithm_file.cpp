#include "algorithm_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace esp::vit::fused {
namespace {

// Leads every key. Another number makes what was remembered so far void: count it up when the search finds better.
constexpr const char* kSearch = "search 3, ";
constexpr int kWords = sizeof(cublasLtMatmulAlgo_t) / sizeof(uint64_t);

std::string cache_folder() {
  const auto value = [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text == nullptr ? "" : text);
  };
  if (!value("ESPALIER_CACHE").empty()) return value("ESPALIER_CACHE");
  if (!value("XDG_CACHE_HOME").empty()) return value("XDG_CACHE_HOME") + "/espalier";
  return value("HOME").empty() ? "" : value("HOME") + "/.cache/espalier";
}

}  // namespace

// A line: key, tab, workspace, the algorithm's words in hexadecimal, "end". What is cut or older is skipped.
AlgorithmFile::AlgorithmFile() {
  const std::string folder = cache_folder();
  if (folder.empty()) return;
  path_ = folder + "/matmul-algorithms.txt";
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos) continue;
    std::istringstream words(line.substr(tab + 1));
    RememberedAlgorithm one{};
    words >> one.workspace >> std::hex;
    for (int i = 0; i < kWords; ++i) words >> one.algorithm.data[i];
    std::string end;
    if (words >> end && end == "end") known_[line.substr(0, tab)] = one;
  }
}

std::optional<RememberedAlgorithm> AlgorithmFile::find(const std::string& key) const {
  const auto at = known_.find(kSearch + key);
  return at == known_.end() ? std::nullopt : std::optional(at->second);
}

void AlgorithmFile::remember(const std::string& key, const RememberedAlgorithm& chosen) {
  known_[kSearch + key] = chosen;
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  std::ostringstream line;
  line << kSearch << key << '\t' << chosen.workspace << std::hex;
  for (int i = 0; i < kWords; ++i) line << ' ' << chosen.algorithm.data[i];
  line << " end\n";
  const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return;
  const std::string text = line.str();
  [[maybe_unused]] const ssize_t written = ::write(file, text.data(), text.size());
  ::close(file);
}

}  // namespace esp::vit::fused
