// From settings to a RunConfig and to options of the three components. All of it before any rank starts.
#pragma once

#include <espalier/abi.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "config/option_set.hpp"
#include "config/run_config.hpp"
#include "config/settings.hpp"

namespace esp {

// The host's own keys as options, by table: "run", "model", "data", "train", "optimizer", "bench". One list feeds
// validation, flags, docs/configuration.md and the resolved config.toml.
struct KeyTable {
  std::string name;
  std::vector<const esp_option*> keys;
};
std::span<const KeyTable> host_keys();

// Checks every setting against `table.key` options: unknown tables and keys (with the nearest valid name), types,
// ranges, choices. All errors are listed, one line each, in one Error(kUsage). `extra` adds a plugin's options to a
// table
// ("strategy", "model", "data"); a plugin's key that equals a host key of that table is refused by name.
struct ExtraKeys {
  std::string table;
  std::string owner;  // "libzero.so:zero", for messages
  std::span<const esp_option* const> options;
};
void check_settings(const Settings& settings, std::span<const ExtraKeys> extra);
// The same before any plugin is loaded: passes over the keys that only a plugin can judge.
void check_host_settings(const Settings& settings);

// "libzero.so:zero": a library and, behind a colon, a component of it; without one the second is empty.
std::pair<std::string, std::string> split_plugin_name(const std::string& name);

// What must be known before the plugins, and with them all other keys, are: read without looking at anything else.
struct ComponentNames {
  std::string plugin, strategy;           // run.plugin ("libzero.so:zero" is split), run.strategy; empty = not given
  std::string model_module, data_module;  // without a component, as above: "libvit.so"
};
ComponentNames read_component_names(const Settings& settings);

// The host's own keys, typed. Settings of plugins' keys are ignored here; everything else is checked, as by
// check_host_settings, and rules between keys are too.
RunConfig read_run_config(const Settings& settings);

// The values of one component's options out of settings of `table`; defaults filled in. Throws Error(kUsage).
OptionSet read_options(const Settings& settings, const std::string& table, std::span<const esp_option* const> options);

// The resolved configuration as TOML: every key with its value, in the order of the tables.
struct ResolvedTable {
  std::string name;
  std::span<const esp_option* const> options;
  std::span<const esp_value> values;
};
std::string to_toml(std::span<const ResolvedTable> tables);

// docs/configuration.md: one line a key, generated from the tables.
std::string configuration_markdown(std::span<const ExtraKeys> built_in);

// The valid name nearest to a wrong one, or empty when none is near.
std::string nearest_name(std::string_view wrong, std::span<const std::string> valid);

}  // namespace esp
