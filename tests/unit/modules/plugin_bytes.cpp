#include "plugin_bytes.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace esp::test {
namespace fs = std::filesystem;

fs::path fixture(const std::string& name) { return fs::path(ESPALIER_FIXTURES) / ("lib" + name + ".so"); }

PluginBytes::PluginBytes() {
  std::ifstream file(fixture("toy"), std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  if (content.empty()) throw std::runtime_error("the fixture libtoy.so is not built");
  bytes.resize(content.size());
  std::memcpy(bytes.data(), content.data(), content.size());
}

Elf64_Ehdr& PluginBytes::header() { return *reinterpret_cast<Elf64_Ehdr*>(bytes.data()); }

Elf64_Phdr& PluginBytes::segment(uint32_t type, size_t index) {
  auto* first = reinterpret_cast<Elf64_Phdr*>(bytes.data() + header().e_phoff);
  for (auto* one = first; one != first + header().e_phnum; ++one) {
    if (one->p_type == type && index-- == 0) return *one;
  }
  throw std::runtime_error("no such segment");
}

esp_note_record& PluginBytes::note() {
  esp_note_record wanted{sizeof(ESP_NOTE_NAME), sizeof(esp_note), ESP_NOTE_TYPE, ESP_NOTE_NAME, {}};
  const auto* start = reinterpret_cast<const std::byte*>(&wanted);
  const auto found = std::search(bytes.begin(), bytes.end(), start, start + offsetof(esp_note_record, desc));
  if (found == bytes.end()) throw std::runtime_error("the fixture has no note");
  return *reinterpret_cast<esp_note_record*>(&*found);
}

void PluginBytes::replace(std::string_view from, std::string_view to) {
  const auto* start = reinterpret_cast<const std::byte*>(from.data());
  auto found = std::search(bytes.begin(), bytes.end(), start, start + from.size());
  if (found == bytes.end()) throw std::runtime_error("no such text in the fixture");
  for (; found != bytes.end(); found = std::search(found, bytes.end(), start, start + from.size())) {
    std::memcpy(&*found, to.data(), from.size());
  }
}

fs::path PluginBytes::write(const fs::path& path) const {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return path;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "espalier-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = fs::canonical(pattern);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path TemporaryFolder::write(const std::string& name, std::string_view content) const {
  std::ofstream(path_ / name, std::ios::binary) << content;
  return path_ / name;
}

ScopedVariable::ScopedVariable(const char* name, const char* value) : name_(name) {
  const char* old = std::getenv(name);
  was_set_ = old != nullptr;
  if (was_set_) old_ = old;
  if (value == nullptr) {
    unsetenv(name);
  } else {
    setenv(name, value, 1);
  }
}

ScopedVariable::~ScopedVariable() {
  if (was_set_) {
    setenv(name_.c_str(), old_.c_str(), 1);
  } else {
    unsetenv(name_.c_str());
  }
}

}  // namespace esp::test
