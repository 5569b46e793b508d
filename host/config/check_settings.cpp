#include <algorithm>
#include <map>

#include "config/option_value.hpp"
#include "config/resolve.hpp"
#include "config/value_text.hpp"
#include "error.hpp"

namespace esp {
namespace {

struct KnownKey {
  const esp_option* option;
  std::string owner;  // empty: the host's own
};
using KnownKeys = std::map<std::string, std::map<std::string, KnownKey>>;  // table, key

KnownKeys known_keys(std::span<const ExtraKeys> extra) {
  KnownKeys known;
  for (const KeyTable& table : host_keys()) {
    for (const esp_option* option : table.keys) known[table.name][option->key] = {option, ""};
  }
  known["strategy"];
  for (const ExtraKeys& keys : extra) {
    for (const esp_option* option : keys.options) {
      const auto [at, added] = known[keys.table].try_emplace(option->key, KnownKey{option, keys.owner});
      if (!added) {
        const std::string other = at->second.owner.empty() ? "the host itself" : at->second.owner;
        throw Error(ExitCode::kPlugin, keys.owner + " declares the option " + keys.table + "." + option->key +
                                           ", which " + other + " has already; the plugin must rename it");
      }
    }
  }
  return known;
}

// The key as the user would write it: in the same table, else under the same or a similar name in another.
std::string nearest_key(const KnownKeys& known, const std::string& table, const std::string& key) {
  if (const auto found = known.find(table); found != known.end()) {
    std::vector<std::string> names;
    for (const auto& [name, option] : found->second) names.push_back(name);
    if (const std::string near = nearest_name(key, names); !near.empty()) return table + "." + near;
  }
  std::vector<std::string> names;
  for (const auto& [other, keys] : known) {
    for (const auto& [name, option] : keys) {
      if (name == key) return other + "." + name;
      names.push_back(other + "." + name);
    }
  }
  return nearest_name(table + "." + key, names);
}

std::string owners_text(const std::string& table, std::span<const ExtraKeys> extra) {
  for (const ExtraKeys& keys : extra) {
    if (keys.table == table)
      return table == "strategy" ? " an option of " + keys.owner
                                 : " a key of [" + table + "] or an option of " + keys.owner;
  }
  return " a key of [" + table + "]";
}

// Of a key that nobody declares.
std::string unknown_text(const KnownKeys& known, std::span<const ExtraKeys> extra, const std::string& name,
                         const Setting& setting) {
  const size_t dot = name.find('.');
  const bool has_table = dot != std::string::npos;
  const bool quoted_key = !name.empty() && name[0] == '"';
  const std::string table = has_table && !quoted_key ? name.substr(0, dot) : "";
  const std::string key = quoted_key ? name.substr(1, name.size() - 2) : name.substr(has_table ? dot + 1 : 0);
  std::string text = setting.from_flag ? printable(setting.place.text) : setting.place.text + ": " + printable(name);
  if (table.empty()) {
    text += " stands outside of a table";
  } else if (!known.contains(table)) {
    text += " is unknown: there is no table [" + printable(table) + "]";
  } else {
    text += " is not" + owners_text(table, extra);
  }
  const std::string near = nearest_key(known, table, key);
  return near.empty() ? text : text + "; did you mean " + near + "?";
}

const KnownKey* find(const KnownKeys& known, const std::string& name) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return nullptr;
  const auto table = known.find(name.substr(0, dot));
  if (table == known.end()) return nullptr;
  const auto key = table->second.find(name.substr(dot + 1));
  return key == table->second.end() ? nullptr : &key->second;
}

void check_required(const KnownKeys& known, const Settings& settings, std::vector<Problem>& problems) {
  for (const auto& [table, keys] : known) {
    for (const auto& [key, declared] : keys) {
      const std::string name = table + "." + key;
      if ((declared.option->flags & ESP_OPT_REQUIRED) == 0 || settings.contains(name)) continue;
      problems.push_back(
          {0, 0, name + " must be given: " + declared.owner + " wants " + expectation(*declared.option)});
    }
  }
}

bool may_grow(const std::string& name) {
  return name.starts_with("strategy.") || name.starts_with("model.") || name.starts_with("data.");
}

// `all_known`: whether keys that nobody declares are mistakes in the tables that plugins add to.
void check(const Settings& settings, std::span<const ExtraKeys> extra, bool all_known) {
  const KnownKeys known = known_keys(extra);
  std::vector<Problem> problems;
  OptionSet unused;
  for (const auto& [name, setting] : settings) {
    const Place& place = setting.place;
    const KnownKey* declared = find(known, name);
    if (declared == nullptr && !all_known && may_grow(name)) continue;
    if (declared == nullptr) {
      problems.push_back({place.line, place.column, unknown_text(known, extra, name, setting)});
      continue;
    }
    try {
      add_value(*declared->option, setting, unused);
    } catch (const BadValue& bad) {
      problems.push_back({place.line, place.column, problem_text(name, setting, bad.what())});
    }
  }
  check_required(known, settings, problems);
  if (!problems.empty()) throw Error(ExitCode::kUsage, join_problems(std::move(problems)));
}

}  // namespace

void check_settings(const Settings& settings, std::span<const ExtraKeys> extra) { check(settings, extra, true); }

void check_host_settings(const Settings& settings) { check(settings, {}, false); }

}  // namespace esp
