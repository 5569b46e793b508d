// The options that a component declares: a schema must make sense before values are held against it.
#pragma once

#include <espalier/abi.h>

#include <cstdint>
#include <string>

namespace esp {

// `owner` names the component in messages ("strategy ddp"). Throws LoadError L35 and L37.
void check_options(const esp_option* const* options, uint32_t n, const std::string& owner, const std::string& path);

}  // namespace esp
