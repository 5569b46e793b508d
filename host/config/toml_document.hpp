// TOML text to settings. The only place that knows toml++.
#pragma once

#include <string>
#include <string_view>

#include "config/settings.hpp"

namespace esp {

inline constexpr size_t kMaxSettingsBytes = 64 * 1024;

// `file` names the text in messages, `base_folder` is stored with each setting. Any bytes may be given: what is not
// valid TOML, too long, or too deep throws Error(kUsage) with "file:line:column: ". Tables within tables become longer
// keys; what no key can be (a date, a list of lists or tables, a [sweep]) is refused here, all of it in one Error.
Settings parse_toml(std::string_view text, const std::string& file, const std::string& base_folder);

}  // namespace esp
