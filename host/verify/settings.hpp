// Values for a component's options: those that were given, the defaults elsewhere.
#pragma once

#include <map>
#include <span>
#include <string>

#include "config/option_set.hpp"
#include "modules/module.hpp"

namespace esp::verify {

using GivenValues = std::map<std::string, std::string>;  // by key, as a flag spells them

// Keys that the component does not have are left out. Throws Error(kUsage) for a value that does not fit.
OptionSet option_values(const ModuleComponent& component, const GivenValues& given);

// Throws Error(kUsage) for a key that none of the components has.
void check_keys(std::span<const ModuleComponent* const> components, const GivenValues& given);

// "a=1,b=two" as keys and values. Throws Error(kUsage).
GivenValues parse_values(const std::string& text);

}  // namespace esp::verify
