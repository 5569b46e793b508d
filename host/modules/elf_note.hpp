// The note that a plugin carries, read from the file's bytes: no code of the plugin runs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <espalier/abi.h>

namespace esp {

// What the bytes of a shared library say. Filled by read_plugin_file, which throws LoadError L10 to L12.
struct PluginFile {
  esp_note note{};
  std::vector<std::string> needed;            // DT_NEEDED
  std::vector<std::string> exported;          // defined global dynamic symbols
  std::vector<std::string> unique_exports;    // STB_GNU_UNIQUE
  std::vector<std::string> version_needs;     // "GLIBCXX_3.4.30", "GLIBC_2.34", ...
};

PluginFile read_plugin_file(const std::filesystem::path& path);

}  // namespace esp
