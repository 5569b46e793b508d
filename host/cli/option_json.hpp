// A library's options and components as other programs read them.
#pragma once

#include <espalier/abi.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "modules/module.hpp"

namespace esp::cli {

using Json = nlohmann::ordered_json;

Json value_json(const esp_value& value);  // null for an absent one

std::string table_of(uint32_t kind);                       // of a run's TOML: "strategy", "model", "data"
std::vector<std::string> capability_names(uint64_t caps);  // of ESP_CAP_ bits
std::vector<std::string> flag_names(uint32_t flags);       // of ESP_OPT_ bits; REQUIRED is told by the missing default

// All components, or the one with this id. Throws LoadError L50.
std::vector<const ModuleComponent*> select_components(const Module& module, const std::string& id);

}  // namespace esp::cli
