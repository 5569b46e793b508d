#include "config/value_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace esp {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};
constexpr std::array<Unit, 9> kByteUnits{{{"B", 1.0},
                                          {"KiB", 1024.0},
                                          {"MiB", 1048576.0},
                                          {"GiB", 1073741824.0},
                                          {"TiB", 1099511627776.0},
                                          {"KB", 1e3},
                                          {"MB", 1e6},
                                          {"GB", 1e9},
                                          {"TB", 1e12}}};
constexpr std::array<Unit, 4> kTimeUnits{{{"ms", 1e-3}, {"s", 1.0}, {"min", 60.0}, {"h", 3600.0}}};

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string_view without_plus(std::string_view text) {
  const bool plus = text.size() > 1 && text[0] == '+' && text[1] != '-' && text[1] != '+';
  return plus ? text.substr(1) : text;
}

// "2.5 GiB" to (2.5, "GiB").
std::pair<std::string_view, std::string_view> split_unit(std::string_view text) {
  const size_t end = text.find_first_not_of("0123456789.");
  if (end == std::string_view::npos) return {text, {}};
  return {text.substr(0, end), trimmed(text.substr(end))};
}

template <size_t N>
std::optional<double> factor_of(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> parse_integer(std::string_view text) {
  text = without_plus(trimmed(text));
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_number(std::string_view text) {
  text = without_plus(trimmed(text));
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty() || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::numeric_limits<double>::infinity();
  if (std::isnan(value)) return std::nullopt;
  return value;
}

std::optional<bool> parse_bool(std::string_view text) {
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return std::nullopt;
}

std::optional<uint64_t> parse_bytes(std::string_view text) {
  const auto [digits, unit] = split_unit(trimmed(text));
  const std::optional<double> factor = unit.empty() ? 1.0 : factor_of(kByteUnits, unit);
  if (!factor) return std::nullopt;
  uint64_t whole = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), whole);
  if (error == std::errc() && end == digits.data() + digits.size()) {
    const auto scale = static_cast<uint64_t>(*factor);
    if (whole > std::numeric_limits<uint64_t>::max() / scale) return std::nullopt;
    return whole * scale;
  }
  const std::optional<double> number = parse_number(digits);
  if (!number || *number * *factor >= 0x1p63) return std::nullopt;
  return static_cast<uint64_t>(*number * *factor);
}

std::optional<double> parse_duration(std::string_view text) {
  const auto [digits, unit] = split_unit(trimmed(text));
  const std::optional<double> factor = unit.empty() ? 1.0 : factor_of(kTimeUnits, unit);
  const std::optional<double> number = parse_number(digits);
  if (!factor || !number || !std::isfinite(*number)) return std::nullopt;
  return *number * *factor;
}

std::vector<std::string> split_list(std::string_view text) {
  text = trimmed(text);
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') text = trimmed(text.substr(1, text.size() - 2));
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string_view part = trimmed(text.substr(0, comma));
    const bool in_quotes = part.size() >= 2 && part.front() == part.back() && (part[0] == '"' || part[0] == '\'');
    parts.emplace_back(in_quotes ? part.substr(1, part.size() - 2) : part);
    text = comma == std::string_view::npos ? std::string_view() : trimmed(text.substr(comma + 1));
  }
  return parts;
}

std::string number_text(double value) {
  std::array<char, 64> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), result.ptr);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string bytes_text(uint64_t bytes) {
  for (size_t i = 4; i > 0; --i) {
    const auto unit = static_cast<uint64_t>(kByteUnits[i].factor);
    if (bytes != 0 && bytes % unit == 0) return std::to_string(bytes / unit) + std::string(kByteUnits[i].name);
  }
  return std::to_string(bytes) + "B";
}

std::string printable(const std::string& text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out;
}

std::string quoted(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return std::string("\"").append(printable(escaped)).append("\"");
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0 || i + length > text.size()) return false;
    uint32_t code = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = (code << 6) | (next & 0x3f);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    i += length;
  }
  return true;
}

namespace {

constexpr size_t kShownLength = 60;

std::string cut(std::string text) {
  if (text.size() <= kShownLength) return text;
  size_t end = kShownLength;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not within a character
  return text.substr(0, end) + "...";
}

std::string scalar_text(const Scalar& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  if (const auto* number = std::get_if<double>(&value)) return number_text(*number);
  return quoted(cut(std::get<std::string>(value)));
}

}  // namespace

std::string shown(const Setting& setting) {
  if (setting.from_flag) return printable(cut(std::get<std::string>(setting.value)));
  if (const auto* list = std::get_if<std::vector<Scalar>>(&setting.value)) {
    std::string text;
    for (const Scalar& element : *list) text += (text.empty() ? "" : ", ") + scalar_text(element);
    return std::string("[").append(cut(text)).append("]");
  }
  if (const auto* flag = std::get_if<bool>(&setting.value)) return scalar_text(*flag);
  if (const auto* integer = std::get_if<int64_t>(&setting.value)) return scalar_text(*integer);
  if (const auto* number = std::get_if<double>(&setting.value)) return scalar_text(*number);
  return scalar_text(std::get<std::string>(setting.value));
}

std::string join_problems(std::vector<Problem> problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    if ((a.line == 0) != (b.line == 0)) return b.line == 0;
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
  std::string text;
  for (const Problem& problem : problems) text += (text.empty() ? "" : "\n") + problem.text;
  return text;
}

}  // namespace esp
