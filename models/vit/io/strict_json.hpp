// JSON files from anywhere, with bounds: size, depth, and no key twice in one object.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace esp::vit {

// Parses `text`; the value must be an object. `origin` names it in errors. Throws Failure (ESP_E_DATA).
nlohmann::json parse_object(std::string_view text, const std::string& origin);

// The same for a file of at most 4 MiB.
nlohmann::json read_object(const std::string& path);

// What is wrong with a text that nlohmann's parser refused, as one line.
std::string parse_error_text(const nlohmann::detail::exception& error);

}  // namespace esp::vit
