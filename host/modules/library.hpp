// Opens a plugin library in this process and asks it what it offers.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "modules/elf_note.hpp"

namespace esp {

// What a library is doing, for those who watch from outside and see only that it does not come back.
using StageListener = std::function<void(const std::string& stage)>;

// Maps the library (immediate binding, local scope; LibTorch before it when its note says so), calls its entry and
// checks the answer. It stays mapped until the process ends. [main] Throws LoadError L30, L33 to L39, L60, L61.
const esp_plugin& open_library(const std::filesystem::path& path, const PluginFile& file, const StageListener& stage);

}  // namespace esp
