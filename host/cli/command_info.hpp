// What each command takes and how it is explained: one list for parsing and for help.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace esp::cli {

struct CommandInfo {
  const char* name;     // "run", "plugins list"
  const char* usage;    // what follows the name
  const char* summary;  // one line
  const char* details;  // flags and examples, whole lines
  bool takes_settings;  // -c FILE and the flags of all tables
  bool takes_json;
  bool takes_target;  // --to and --dtype
  size_t min_names;
  size_t max_names;
  bool takes_budget = false;                       // --budget
  bool takes_retry = false;                        // --retry
  std::span<const char* const> own_flags = {};     // flags with a value that only this command has
  std::span<const char* const> own_switches = {};  // the same without a value; "true" where given
};

std::span<const CommandInfo> command_infos();
const CommandInfo* find_command(const std::string& name);  // NULL when there is none

}  // namespace esp::cli
