#include "verify/settings.hpp"

#include <algorithm>

#include "config/option_value.hpp"
#include "config/resolve.hpp"
#include "error.hpp"

namespace esp::verify {
namespace {

void add_given(const esp_option& option, const std::string& text, OptionSet& into) {
  Setting setting;
  setting.value = text;
  setting.from_flag = true;
  setting.place.text = std::string("--with ") + option.key;
  try {
    add_value(option, setting, into);
  } catch (const BadValue& bad) {
    throw Error(ExitCode::kUsage, problem_text(option.key, setting, bad.what()));
  }
}

}  // namespace

OptionSet option_values(const ModuleComponent& component, const GivenValues& given) {
  OptionSet set;
  for (const esp_option* option : component.option_list) {
    const auto found = given.find(option->key);
    if (found != given.end()) {
      add_given(*option, found->second, set);
    } else if (option->def.type == 0) {
      set.add_absent();
    } else {
      add_default(*option, set);
    }
  }
  return set;
}

void check_keys(std::span<const ModuleComponent* const> components, const GivenValues& given) {
  std::vector<std::string> keys;
  for (const ModuleComponent* component : components) {
    for (const esp_option* option : component->option_list) keys.emplace_back(option->key);
  }
  for (const auto& [key, value] : given) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    const std::string near = nearest_name(key, keys);
    throw Error(ExitCode::kUsage, "--with: no component of the library has an option " + key +
                                      (near.empty() ? "; see host plugins inspect" : "; did you mean " + near + "?"));
  }
}

GivenValues parse_values(const std::string& text) {
  GivenValues values;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const size_t equals = text.find('=', begin);
    if (equals >= end || equals == begin) {
      throw Error(ExitCode::kUsage, "--with=" + text + ": KEY=VALUE[,KEY=VALUE] is expected");
    }
    values[text.substr(begin, equals - begin)] = text.substr(equals + 1, end - equals - 1);
    begin = end + 1;
  }
  return values;
}

}  // namespace esp::verify
