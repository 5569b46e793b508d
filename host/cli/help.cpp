#include <ostream>

#include "cli/command_info.hpp"
#include "cli/commands.hpp"
#include "cli/configuration_page.hpp"
#include "config/option_value.hpp"
#include "config/resolve.hpp"
#include "config/value_text.hpp"
#include "error.hpp"

namespace esp::cli {
namespace {

constexpr size_t kNameWidth = 28;

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}

void print_overview(std::ostream& out) {
  out << "host trains a model with a strategy that it loads from a shared library.\n\n"
         "Usage: host COMMAND ...\n\nCommands:\n";
  for (const CommandInfo& command : command_infos()) {
    out << "  " << padded(command.name, 18) << command.summary << "\n";
  }
  out << "  " << padded("help [COMMAND]", 18)
      << "explain a command and its keys; 'configuration': all keys as Markdown\n"
      << "  " << padded("--version", 18) << "print the version\n\n"
      << "Example:\n  host run --plugin=libddp.so --nproc=2\n";
}

void print_key(const std::string& table, const esp_option& option, std::ostream& out) {
  const std::string def = value_text(option.def);
  std::string flag = "--" + table + "." + option.key;
  out << "  " << padded(std::move(flag), kNameWidth) << " " << expectation(option);
  if (!def.empty()) out << "  [" << def << "]";
  out << "\n" << std::string(kNameWidth + 3, ' ') << option.doc << "\n";
}

void print_keys(const CommandInfo& command, std::ostream& out) {
  for (const KeyTable& table : host_keys()) {
    if (table.name == "bench" && command.name != std::string("bench")) continue;
    out << "\n[" << table.name << "]\n";
    for (const esp_option* option : table.keys) print_key(table.name, *option, out);
  }
  out << "\n[strategy], and further keys of [model] and [data], are declared by the libraries: host plugins inspect "
         "LIBRARY.\n";
}

void print_command(const CommandInfo& command, std::ostream& out) {
  out << "host " << command.name << ": " << command.summary << "\n\n"
      << "Usage: host " << command.name << " " << command.usage << "\n\n"
      << command.details;
  if (command.takes_settings) print_keys(command, out);
}

}  // namespace

int help(const std::string& topic, std::ostream& out) {
  if (topic.empty()) {
    print_overview(out);
    return 0;
  }
  if (topic == "configuration") {
    out << configuration_page();
    return 0;
  }
  bool found = false;
  for (const CommandInfo& command : command_infos()) {
    const std::string name = command.name;
    if (name != topic && !name.starts_with(topic + " ")) continue;
    if (found) out << "\n";
    print_command(command, out);
    found = true;
  }
  if (!found) throw Error(ExitCode::kUsage, "there is no help about " + quoted(topic) + "; see host help");
  return 0;
}

}  // namespace esp::cli
