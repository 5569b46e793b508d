// What a plugin answers is checked once, before anything relies on it.
#pragma once

#include <espalier/abi.h>

#include <cstdint>
#include <string>

namespace esp {

// "strategy", "model", "dataset", or empty for kinds this host does not know.
std::string kind_name(uint32_t kind);

// Throws LoadError L35 (malformed), L36 (ids), L37 (options), L38 (functions missing), L39 (capabilities). Components
// of unknown kinds come from newer headers and pass.
void check_answer(const esp_plugin* plugin, const std::string& path);

}  // namespace esp
