// The note that a plugin carries, read from the file's bytes: no code of the plugin runs.
#pragma once

#include <espalier/abi.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "modules/elf_reader.hpp"

namespace esp {

// What the bytes of a shared library say. The note's texts are NUL-terminated, UTF-8 and printable.
struct PluginFile {
  esp_note note{};
  std::vector<std::string> needed;          // DT_NEEDED
  std::vector<std::string> exported;        // defined global dynamic symbols
  std::vector<std::string> unique_exports;  // STB_GNU_UNIQUE
  std::vector<VersionNeed> version_needs;   // {"libstdc++.so.6", "GLIBCXX_3.4.30"}, ...
};

// Throws LoadError L10 (not a whole ELF shared library), L11 (other machine), L12 (no note), L13 (damaged note).
PluginFile read_plugin_file(const std::filesystem::path& path);

// The same over bytes in memory; `path` is for messages only.
PluginFile parse_plugin_file(std::span<const std::byte> bytes, const std::string& path);

}  // namespace esp
