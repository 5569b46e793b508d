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

// All components, or the one with this id. Throws LoadError L50.
std::vector<const ModuleComponent*> select_components(const Module& module, const std::string& id);

}  // namespace esp::cli
