// The first call into a plugin: versions are negotiated, and it says what it offers.
#pragma once

#include <espalier/abi.h>

#include <string>

#include "modules/file_checks.hpp"

namespace esp {

// Greets the library as `host` and gives its answer, unchecked and possibly NULL. Throws LoadError L33 (it refuses) and
// L34 (an exception came out of it).
const esp_plugin* call_entry(esp_entry_fn entry, const std::string& path, const HostAbi& host = {});

// What came out of a catch-all, for messages: type and text.
std::string describe_exception();

}  // namespace esp
