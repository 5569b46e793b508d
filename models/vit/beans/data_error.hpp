// What is wrong with the data a user pointed at. Crosses the border as an esp_error with its code.
#pragma once

#include <espalier/failure.hpp>
#include <string>
#include <string_view>

namespace esp::vit {

// One line: what was wrong, which file, what to do.
class DataError : public Failure {
 public:
  explicit DataError(const std::string& message) : Failure(ESP_E_DATA, message) {}
  DataError(esp_status code, const std::string& message) : Failure(code, message) {}
};

// A file name as it may stand in a one-line message: bytes that are not printable ASCII or UTF-8 become \xNN.
std::string printable(std::string_view name);

bool is_utf8(std::string_view text);

}  // namespace esp::vit
