// Texts that come from a plugin: bounded, UTF-8, one line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace esp {

// UTF-8 without control characters (line breaks and escape sequences included).
bool is_plain_text(std::string_view text);

// The text with control characters, and all beyond ASCII where it is not UTF-8, as '?': fit for a message.
std::string one_line(std::string_view text);

// A C string of at most `limit` bytes; longer ones are cut.
std::string_view bounded(const char* text, size_t limit);

}  // namespace esp
