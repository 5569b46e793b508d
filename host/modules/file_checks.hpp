// What the bytes of a plugin ask for, against what this host, machine and LibTorch offer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "modules/elf_note.hpp"

namespace esp {

// The ABI that the host speaks.
struct HostAbi {
  uint32_t major = ESP_ABI_MAJOR;
  uint32_t minor = ESP_ABI_MINOR;
  uint32_t minor_floor = 0;  // the oldest minor that is still honoured
  uint64_t sdk_hash = ESP_SDK_HASH;
  bool draft = std::string_view(ESP_REVISION) == "0";  // until 1.0 is frozen both sides must have the same headers
};

// Throws LoadError L14 to L20, or Error(kResource) when the plugin needs LibTorch and there is none. Returns warnings
// (L20, L22), one line each.
std::vector<std::string> check_plugin_file(const PluginFile& file, const std::string& path, const HostAbi& host = {});

}  // namespace esp
