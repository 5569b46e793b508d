#include "modules/text.hpp"

#include <cstring>

#include "config/value_text.hpp"

namespace esp {
namespace {

// Whether a control character starts at `i` of UTF-8 text; C1 controls (U+0080 to U+009F) are the two bytes C2 80 to C2
// 9F.
bool is_control(std::string_view text, size_t i) {
  const auto byte = static_cast<unsigned char>(text[i]);
  if (byte < 0x20 || byte == 0x7f) return true;
  return byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
}

}  // namespace

bool is_plain_text(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_control(text, i)) return false;
  }
  return is_utf8(text);
}

std::string one_line(std::string_view text) {
  std::string result;
  const bool utf8 = is_utf8(text);
  for (size_t i = 0; i < text.size(); ++i) {
    const bool control = is_control(text, i), foreign = !utf8 && static_cast<unsigned char>(text[i]) >= 0x80;
    result += control || foreign ? '?' : text[i];
    if (utf8 && control && static_cast<unsigned char>(text[i]) == 0xc2) ++i;
  }
  return result;
}

std::string_view bounded(const char* text, size_t limit) { return {text, strnlen(text, limit)}; }

}  // namespace esp
