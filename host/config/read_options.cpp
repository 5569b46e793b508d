#include "config/option_value.hpp"
#include "config/resolve.hpp"
#include "config/value_text.hpp"
#include "error.hpp"

namespace esp {

OptionSet read_options(const Settings& settings, const std::string& table, std::span<const esp_option* const> options) {
  OptionSet set;
  std::vector<Problem> problems;
  for (const esp_option* option : options) {
    const std::string name = table + "." + option->key;
    const auto found = settings.find(name);
    try {
      if (found != settings.end()) {
        add_value(*option, found->second, set);
      } else if ((option->flags & ESP_OPT_REQUIRED) != 0) {
        problems.push_back({0, 0, name + " must be given: " + expectation(*option)});
      } else {
        add_default(*option, set);
      }
    } catch (const BadValue& bad) {
      const Place& place = found->second.place;
      problems.push_back({place.line, place.column, problem_text(name, found->second, bad.what())});
    }
  }
  if (!problems.empty()) throw Error(ExitCode::kUsage, join_problems(std::move(problems)));
  return set;
}

}  // namespace esp
