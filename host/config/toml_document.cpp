#include "config/toml_document.hpp"

#include <algorithm>
#include <vector>

#include "config/value_text.hpp"
#include "error.hpp"

namespace esp {
namespace {
// What toml++ throws where it would have asserted.
struct BrokenAssumption {};
[[noreturn]] void throw_broken_assumption() { throw BrokenAssumption(); }
}  // namespace
}  // namespace esp

// toml++ 3.3 asserts on some short invalid texts (`a=[1,}`), and with NDEBUG it takes what it would have asserted as a
// promise to the optimizer. Here a broken assumption is an error in every build type.
#undef NDEBUG
#define TOML_ASSERT(expr) ((expr) ? static_cast<void>(0) : esp::throw_broken_assumption())
#define TOML_MAX_NESTED_VALUES 16
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

namespace esp {
namespace {

// A dotted key makes one table within another for each dot, and toml++ frees tables by recursion. With the limit on
// nested values (and keys cannot span lines) this bounds the depth to about a thousand.
constexpr size_t kMaxDotsInLine = 64;

std::string at(const std::string& file, size_t line, size_t column) {
  return file + ":" + std::to_string(line) + ":" + std::to_string(column) + ": ";
}

void check_dots(std::string_view text, const std::string& file) {
  size_t line = 1, begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = text.substr(begin, end - begin);
    const size_t first = row.find_first_not_of(" \t");
    const bool comment = first != std::string_view::npos && row[first] == '#';
    if (!comment && std::count(row.begin(), row.end(), '.') > static_cast<std::ptrdiff_t>(kMaxDotsInLine)) {
      throw Error(ExitCode::kUsage, at(file, line, 1) + "more than " + std::to_string(kMaxDotsInLine) +
                                        " dots in one line; write long lists on several lines");
    }
    begin = end + 1;
    ++line;
  }
}

bool breaks_assumption(std::string_view text) {
  try {
    const toml::table unused = toml::parse(text);
  } catch (const BrokenAssumption&) {
    return true;
  } catch (const toml::parse_error&) {
  }
  return false;
}

// toml++ reads from front to back, so the shortest text that breaks its assumption ends where the mistake is.
[[noreturn]] void throw_at_broken_assumption(std::string_view text, const std::string& file) {
  size_t good = 0, bad = text.size();
  while (bad - good > 1) {
    const size_t middle = good + (bad - good) / 2;
    (breaks_assumption(text.substr(0, middle)) ? bad : good) = middle;
  }
  const std::string_view head = text.substr(0, bad == 0 ? 0 : bad - 1);
  const size_t line = 1 + static_cast<size_t>(std::count(head.begin(), head.end(), '\n'));
  const size_t column = head.size() - (head.rfind('\n') == std::string_view::npos ? 0 : head.rfind('\n') + 1) + 1;
  throw Error(ExitCode::kUsage, at(file, line, column) + "not valid TOML: nothing that may stand here");
}

std::string without(std::string text, const std::string& part) {
  const size_t found = text.find(part);
  return found == std::string::npos ? text : text.erase(found, part.size());
}

toml::table parse(std::string_view text, const std::string& file) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    const toml::source_position where = error.source().begin;
    std::string reason = without(std::string(error.description()), " (TOML_MAX_NESTED_VALUES)");
    reason = without(reason, "Error ");
    throw Error(ExitCode::kUsage, at(file, std::max<size_t>(where.line, 1), std::max<size_t>(where.column, 1)) +
                                      "not valid TOML: " + printable(reason));
  } catch (const BrokenAssumption&) {
    throw_at_broken_assumption(text, file);
  }
}

bool is_bare(std::string_view key) {
  return !key.empty() &&
         std::all_of(key.begin(), key.end(), [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; });
}

// Walks the tables and collects what every key holds, and everything that no key can hold.
class Flattener {
 public:
  Flattener(const std::string& file, const std::string& base_folder) : file_(file), base_folder_(base_folder) {}

  void add_table(const std::string& prefix, const toml::table& table) {
    for (const auto& [key, node] : table) {
      const std::string name = is_bare(key.str()) ? std::string(key.str()) : quoted(std::string(key.str()));
      add_node(prefix.empty() ? name : prefix + "." + name, key, node);
    }
  }

  Settings finish() {
    if (!problems_.empty()) throw Error(ExitCode::kUsage, join_problems(std::move(problems_)));
    return std::move(settings_);
  }

 private:
  void add_node(const std::string& name, const toml::key& key, const toml::node& node) {
    const bool holds_tables = node.is_array_of_tables();
    if (name == "sweep") {
      refuse(node, "[sweep] describes many runs; `host bench` runs sweeps, `host run` and `host eval` one");
    } else if (const toml::table* table = node.as_table()) {
      add_table(name, *table);
    } else if (holds_tables) {
      refuse(node, printable(name) + " is a list of tables; write [" + printable(name) + "], once");
    } else if (const toml::array* list = node.as_array()) {
      add_list(name, key, *list);
    } else if (const auto scalar = scalar_of(node)) {
      std::visit([&](const auto& value) { settings_[name] = {value, false, place(key.source().begin)}; }, *scalar);
    } else {
      refuse(node, printable(name) + " is a date or a time; put it in quotes if text is meant");
    }
  }

  void add_list(const std::string& name, const toml::key& key, const toml::array& list) {
    std::vector<Scalar> values;
    for (const toml::node& element : list) {
      if (auto scalar = scalar_of(element)) {
        values.push_back(std::move(*scalar));
      } else {
        refuse(element, printable(name) + " holds something other than numbers, texts and booleans");
        return;
      }
    }
    settings_[name] = {std::move(values), false, place(key.source().begin)};
  }

  static std::optional<Scalar> scalar_of(const toml::node& node) {
    if (const auto* flag = node.as_boolean()) return Scalar(flag->get());
    if (const auto* integer = node.as_integer()) return Scalar(integer->get());
    if (const auto* number = node.as_floating_point()) return Scalar(number->get());
    if (const auto* text = node.as_string()) return Scalar(text->get());
    return std::nullopt;
  }

  Place place(const toml::source_position& position) const {
    const std::string text = file_ + ":" + std::to_string(position.line) + ":" + std::to_string(position.column);
    return {text, base_folder_, static_cast<int>(position.line), static_cast<int>(position.column)};
  }

  void refuse(const toml::node& node, const std::string& why) {
    const Place where = place(node.source().begin);
    problems_.push_back({where.line, where.column, where.text + ": " + why});
  }

  const std::string& file_;
  const std::string& base_folder_;
  Settings settings_;
  std::vector<Problem> problems_;
};

}  // namespace

Settings parse_toml(std::string_view text, const std::string& file, const std::string& base_folder) {
  if (text.size() > kMaxSettingsBytes) {
    throw Error(ExitCode::kUsage, file + ": a settings file has at most 64 KiB, this one has more");
  }
  check_dots(text, file);
  const toml::table root = parse(text, file);
  Flattener flattener(file, base_folder);
  flattener.add_table("", root);
  return flattener.finish();
}

}  // namespace esp
