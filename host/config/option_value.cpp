#include "config/option_value.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "config/resolve.hpp"
#include "config/value_text.hpp"

namespace esp {
namespace {

namespace fs = std::filesystem;

std::string kind_of(const Scalar& value) {
  if (std::holds_alternative<bool>(value)) return "is a boolean";
  if (std::holds_alternative<int64_t>(value)) return "is an integer";
  if (std::holds_alternative<double>(value)) return "is a number with a fraction";
  return "is text";
}

std::string choices_text(const esp_option& option) {
  std::string text;
  for (uint32_t i = 0; i < option.n_choices; ++i) text += (i == 0 ? "" : ", ") + std::string(option.choices[i]);
  return text;
}

std::string bound_text(const esp_value& bound) {
  switch (bound.type) {
    case ESP_OPT_I64:
      return std::to_string(bound.v.i);
    case ESP_OPT_BYTES:
      return bytes_text(bound.v.u);
    default: {
      const std::string text = number_text(bound.v.f);
      return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
    }
  }
}

std::string range_text(const esp_option& option) {
  std::string text;
  if (option.min.type != 0) text += " from " + bound_text(option.min);
  if (option.max.type != 0) text += (option.min.type != 0 ? " to " : " up to ") + bound_text(option.max);
  return text;
}

// Reads scalars as one option's type. Every function throws BadValue.
class Reader {
 public:
  Reader(const esp_option& option, const Setting& setting) : option_(option), setting_(setting) {}

  int64_t integer(const Scalar& value) const {
    int64_t read = 0;
    if (const auto* given = std::get_if<int64_t>(&value)) {
      read = *given;
    } else if (const auto parsed = from_flag(value, parse_integer)) {
      read = *parsed;
    } else {
      fail(value);
    }
    check(read<option_.min.v.i, read> option_.max.v.i);
    return read;
  }

  double number(const Scalar& value) const {
    double read = 0;
    if (const auto* given = std::get_if<double>(&value)) {
      read = *given;
    } else if (const auto* whole = std::get_if<int64_t>(&value)) {
      read = static_cast<double>(*whole);
    } else if (const auto parsed = from_flag(value, parse_number)) {
      read = *parsed;
    } else {
      fail(value);
    }
    return checked(read);
  }

  uint64_t bytes(const Scalar& value) const {
    uint64_t read = 0;
    if (const auto* whole = std::get_if<int64_t>(&value)) {
      if (*whole < 0) fail_with("is negative");
      read = static_cast<uint64_t>(*whole);
    } else if (const auto parsed = from_text(value, parse_bytes)) {
      read = *parsed;
    } else {
      fail(value, "is no size");
    }
    check(read<option_.min.v.u, read> option_.max.v.u);
    return read;
  }

  double duration(const Scalar& value) const {
    if (const auto parsed = from_text(value, parse_duration)) return checked(*parsed);
    if (const auto* given = std::get_if<double>(&value)) return checked(*given);
    if (const auto* whole = std::get_if<int64_t>(&value)) return checked(static_cast<double>(*whole));
    fail(value, "is no duration");
  }

  bool boolean(const Scalar& value) const {
    if (const auto* given = std::get_if<bool>(&value)) return *given;
    if (const auto parsed = from_flag(value, parse_bool)) return *parsed;
    fail(value);
  }

  std::string text(const Scalar& value) const {
    const auto* given = std::get_if<std::string>(&value);
    if (given == nullptr) fail(value);
    if (given->find('\0') != std::string::npos) fail_with("contains a NUL character");
    if (!is_utf8(*given)) fail_with("is not valid UTF-8");
    return *given;
  }

  std::string choice(const Scalar& value) const {
    const std::string given = text(value);
    const std::vector<std::string> valid(option_.choices, option_.choices + option_.n_choices);
    if (std::find(valid.begin(), valid.end(), given) != valid.end()) return given;
    const std::string near = nearest_name(given, valid);
    throw BadValue("is not " + expectation(option_) + (near.empty() ? "" : "; did you mean " + near + "?"));
  }

  std::string path(const Scalar& value) const {
    const std::string given = text(value);
    return given.empty() ? given : absolute(given);  // empty is how a plugin's default may say "none"
  }

  // For ESP_OPT_OR_NAME: a path where something is found at it, else a name, as typed.
  std::string path_or_name(const Scalar& value) const {
    const std::string given = text(value);
    std::error_code ignored;
    return !given.empty() && std::filesystem::exists(absolute(given), ignored) ? absolute(given) : given;
  }

  // Without a '/' it is searched for, and stays as typed.
  std::string library(const Scalar& value) const {
    const std::string given = text(value);
    return given.find('/') == std::string::npos ? given : absolute(given);
  }

  std::vector<Scalar> elements() const {
    if (const auto* list = std::get_if<std::vector<Scalar>>(&setting_.value)) return *list;
    std::vector<Scalar> values;
    if (setting_.from_flag) {
      for (std::string& part : split_list(std::get<std::string>(setting_.value))) values.emplace_back(std::move(part));
      return values;
    }
    fail(scalar());
  }

  Scalar scalar() const {
    return std::visit(
        [&](const auto& value) -> Scalar {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::vector<Scalar>>) {
            fail_with("is a list");
          } else {
            return value;
          }
        },
        setting_.value);
  }

 private:
  [[noreturn]] void fail_with(const std::string& why) const {
    throw BadValue(why + "; " + expectation(option_) + " is expected");
  }

  [[noreturn]] void fail(const Scalar& value, const std::string& of_text = "is text") const {
    if (!setting_.from_flag) fail_with(std::holds_alternative<std::string>(value) ? of_text : kind_of(value));
    const std::string digits = std::get<std::string>(value);
    const bool whole = !digits.empty() && digits.find_first_not_of("+-0123456789") == std::string::npos;
    throw BadValue(whole && digits.size() > 18 ? "does not fit 64 bits; " + expectation(option_) + " is expected"
                                               : "is not " + expectation(option_));
  }

  template <class Parse>
  auto from_text(const Scalar& value, Parse parse) const -> decltype(parse(std::string_view())) {
    const auto* text = std::get_if<std::string>(&value);
    if (text == nullptr) return std::nullopt;
    return parse(*text);
  }

  template <class Parse>
  auto from_flag(const Scalar& value, Parse parse) const -> decltype(parse(std::string_view())) {
    if (!setting_.from_flag) return std::nullopt;
    return from_text(value, parse);
  }

  double checked(double read) const {
    if (!std::isfinite(read)) fail_with("is not finite");
    check(read<option_.min.v.f, read> option_.max.v.f);
    return read;
  }

  void check(bool below_min, bool above_max) const {
    if (option_.min.type != 0 && below_min) fail_with("is too small");
    if (option_.max.type != 0 && above_max) fail_with("is too large");
  }

  std::string absolute(const std::string& path) const {
    return (fs::path(setting_.place.base_folder) / path).lexically_normal().string();
  }

  const esp_option& option_;
  const Setting& setting_;
};

template <class T, class Read>
std::vector<T> read_all(const Reader& reader, Read read) {
  std::vector<T> values;
  for (const Scalar& element : reader.elements()) values.push_back((reader.*read)(element));
  return values;
}

template <class T>
std::vector<T> list_of(const esp_value& value) {
  const auto* begin = static_cast<const T*>(value.v.list);
  return value.n == 0 ? std::vector<T>() : std::vector<T>(begin, begin + value.n);
}

template <class T, class Text>
std::string joined(const esp_value& value, Text text) {
  std::string all;
  for (const T& element : list_of<T>(value)) all += (all.empty() ? "" : ", ") + text(element);
  return std::string("[").append(all).append("]");
}

}  // namespace

void add_value(const esp_option& option, const Setting& setting, OptionSet& into) {
  const Reader reader(option, setting);
  switch (option.type) {
    case ESP_OPT_BOOL:
      return into.add_integer(option.type, reader.boolean(reader.scalar()) ? 1 : 0);
    case ESP_OPT_I64:
      return into.add_integer(option.type, reader.integer(reader.scalar()));
    case ESP_OPT_F64:
      return into.add_number(option.type, reader.number(reader.scalar()));
    case ESP_OPT_STR:
      return into.add_text(option.type, (option.flags & kOptionNamesLibrary) != 0 ? reader.library(reader.scalar())
                                                                                  : reader.text(reader.scalar()));
    case ESP_OPT_ENUM:
      return into.add_text(option.type, reader.choice(reader.scalar()));
    case ESP_OPT_BYTES:
      return into.add_unsigned(option.type, reader.bytes(reader.scalar()));
    case ESP_OPT_DURATION:
      return into.add_number(option.type, reader.duration(reader.scalar()));
    case ESP_OPT_PATH:
      return into.add_text(option.type, (option.flags & ESP_OPT_OR_NAME) != 0 ? reader.path_or_name(reader.scalar())
                                                                              : reader.path(reader.scalar()));
    case ESP_OPT_LIST_I64:
      return into.add_list(read_all<int64_t>(reader, &Reader::integer));
    case ESP_OPT_LIST_F64:
      return into.add_list(read_all<double>(reader, &Reader::number));
    case ESP_OPT_LIST_STR:
      return into.add_list(read_all<std::string>(reader, &Reader::text));
    default:
      throw BadValue("cannot be given: its declaration has the unknown type " + std::to_string(option.type));
  }
}

void add_default(const esp_option& option, OptionSet& into) {
  const esp_value& value = option.def;
  switch (value.type) {
    case ESP_OPT_BOOL:
    case ESP_OPT_I64:
      return into.add_integer(value.type, value.v.i);
    case ESP_OPT_F64:
    case ESP_OPT_DURATION:
      return into.add_number(value.type, value.v.f);
    case ESP_OPT_BYTES:
      return into.add_unsigned(value.type, value.v.u);
    case ESP_OPT_STR:
    case ESP_OPT_ENUM:
    case ESP_OPT_PATH:
      return into.add_text(value.type, value.v.s);
    case ESP_OPT_LIST_I64:
      return into.add_list(list_of<int64_t>(value));
    case ESP_OPT_LIST_F64:
      return into.add_list(list_of<double>(value));
    case ESP_OPT_LIST_STR: {
      const auto pointers = list_of<const char*>(value);
      return into.add_list(std::vector<std::string>(pointers.begin(), pointers.end()));
    }
    default:
      return into.add_absent();
  }
}

std::string expectation(const esp_option& option) {
  switch (option.type) {
    case ESP_OPT_BOOL:
      return "true or false";
    case ESP_OPT_I64:
      return "an integer" + range_text(option);
    case ESP_OPT_F64:
      return "a number" + range_text(option);
    case ESP_OPT_ENUM:
      return "one of " + choices_text(option);
    case ESP_OPT_BYTES:
      return "a size like 4096 or \"25MiB\"" + range_text(option);
    case ESP_OPT_DURATION:
      return "a duration like 2.5 or \"90s\"" + range_text(option);
    case ESP_OPT_PATH:
      return "a path";
    case ESP_OPT_LIST_I64:
      return "a list of integers" + range_text(option);
    case ESP_OPT_LIST_F64:
      return "a list of numbers" + range_text(option);
    case ESP_OPT_LIST_STR:
      return "a list of texts";
    default:
      return "text";
  }
}

std::string value_text(const esp_value& value) {
  switch (value.type) {
    case ESP_OPT_BOOL:
      return value.v.i != 0 ? "true" : "false";
    case ESP_OPT_I64:
      return std::to_string(value.v.i);
    case ESP_OPT_F64:
    case ESP_OPT_DURATION:
      return number_text(value.v.f);
    case ESP_OPT_BYTES:
      return quoted(bytes_text(value.v.u));
    case ESP_OPT_STR:
    case ESP_OPT_ENUM:
    case ESP_OPT_PATH:
      return quoted(value.v.s);
    case ESP_OPT_LIST_I64:
      return joined<int64_t>(value, [](int64_t element) { return std::to_string(element); });
    case ESP_OPT_LIST_F64:
      return joined<double>(value, [](double element) { return number_text(element); });
    case ESP_OPT_LIST_STR:
      return joined<const char*>(value, [](const char* element) { return quoted(element); });
    default:
      return "";
  }
}

std::string problem_text(const std::string& key, const Setting& setting, const std::string& why) {
  if (setting.from_flag) return setting.place.text + "=" + shown(setting) + " " + why;
  return setting.place.text + ": " + printable(key) + " = " + shown(setting) + " " + why;
}

}  // namespace esp
