// Values as text: how settings, messages, config.toml and docs spell numbers, sizes, durations and strings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/settings.hpp"

namespace esp {

// Whole text or nothing. Empty when the text is no such value, or one that does not fit.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);    // never nan; inf when it overflows
std::optional<bool> parse_bool(std::string_view text);        // true, false, 1, 0
std::optional<uint64_t> parse_bytes(std::string_view text);   // 4096, 25MiB, 1.5GiB, 1GB
std::optional<double> parse_duration(std::string_view text);  // seconds: 2.5, 90s, 5min, 2h, 100ms
std::vector<std::string> split_list(std::string_view text);   // a,b or [a, "b"]

std::string number_text(double value);           // shortest that reads back equal, always with a point or an exponent
std::string bytes_text(uint64_t bytes);          // the largest unit that is exact: 25MiB, 1000B
std::string quoted(const std::string& text);     // a TOML basic string
std::string printable(const std::string& text);  // control characters as \u00XX, so that a message stays one line
bool is_utf8(std::string_view text);

// The value as a message shows it: texts in quotes, long ones cut.
std::string shown(const Setting& setting);

// A message and where in a file its cause stands; line 0: not in a file.
struct Problem {
  int line = 0;
  int column = 0;
  std::string text;
};
// In the order of the file, then the others, one line each.
std::string join_problems(std::vector<Problem> problems);

}  // namespace esp
