// A plugin library that passed every check and stays mapped until the process ends.
#pragma once

#include <espalier/abi.h>

#include <filesystem>
#include <string>
#include <vector>

#include "modules/elf_note.hpp"

namespace esp {

// A component as the host uses it: the plugin's struct copied into a full-size one, absent fields zero.
struct ModuleComponent {
  esp_component component{};
  std::vector<esp_option> options;             // full-size copies
  std::vector<const esp_option*> option_list;  // what component.options points to
};

struct Module {
  std::filesystem::path path;  // absolute, symlinks resolved
  esp_note note{};
  std::string id, version;
  std::vector<const ModuleComponent*> components;  // live until the process ends
  std::vector<std::string> warnings;               // one line each, to be shown once

  // The component of a kind (ESP_STRATEGY, ...): by id, or the only one when id is empty. Throws Error(kPlugin), L50.
  const ModuleComponent& component(uint32_t kind, const std::string& id) const;
};

enum class Probe {
  kChild,  // load in a child process first (the process that the user started)
  kTrust   // that was done already, by the parent of this rank
};

// Finds, checks and loads a library in the stages of docs/loading.md: path, bytes,
// child process, this process. `name` is a path or a file name to search for; "file.so:component" is split by the
// caller. Loading the same file twice gives the same Module. Throws LoadError.
const Module& load_module(const std::string& name, Probe probe);

}  // namespace esp
