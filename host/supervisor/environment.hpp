// The launchers' environments, read through a lookup so that tests can pose as any of them.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "runtime/api.hpp"

namespace esp {

// The value of a variable, or nothing. An empty value counts as absent.
using Lookup = std::function<std::optional<std::string>(const char* variable)>;

// ranks_from_environment (ranks.hpp) for the environment behind `lookup`. `supervised`: the parent is our own
// supervisor.
std::optional<runtime::RankFacts> ranks_from(const Lookup& lookup, bool supervised);

}  // namespace esp
