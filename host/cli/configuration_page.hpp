// docs/configuration.md: the host's keys and those of the built-in libraries.
#pragma once

#include <string>

namespace esp::cli {

// Loads the built-in libraries for their options. Throws Error when one cannot be loaded: the page would lack its keys.
std::string configuration_page();

}  // namespace esp::cli
