// What the user typed, taken apart: a command, its names, and the settings out of -c FILE and flags.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.hpp"

namespace esp::cli {

struct CommandLine {
  std::string command;                           // "run", "plugins list", "help", ...: see command_infos()
  std::vector<std::string> names;                // what stands without a flag: a run's folder, a library, a help topic
  std::string config_file;                       // -c, as typed; empty = none
  Settings settings;                             // of the file, flags over them
  bool json = false;                             // --json: plan, plugins, doctor
  std::string to;                                // --to of export: the folder to write
  std::string dtype = "fp32";                    // --dtype of export: fp32, bf16, fp16
  uint64_t budget = 0;                           // --budget of bench and report, in bytes; 0 = none
  bool retry = false;                            // --retry of bench
  std::map<std::string, std::string> own_flags;  // those of CommandInfo::own_flags that were given
  std::vector<std::string> arguments;  // as typed, without the program's name: what local ranks are started with
};

// Reads nothing but the file that -c names, and starts nothing. Keys of tables are not judged here (check_settings
// does, once the plugins' own keys are known), but flags without a table are. Throws Error(kUsage).
CommandLine parse_command_line(const std::vector<std::string>& arguments);

}  // namespace esp::cli
