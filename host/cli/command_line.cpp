#include "cli/command_line.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <filesystem>
#include <map>

#include "cli/command_info.hpp"
#include "config/resolve.hpp"
#include "config/value_text.hpp"
#include "error.hpp"

namespace esp::cli {
namespace {

namespace po = boost::program_options;

[[noreturn]] void fail(const std::string& message) { throw Error(ExitCode::kUsage, message); }

// All flags that a command knows before any plugin is loaded. Bare booleans mean true.
po::options_description known_flags(const CommandInfo& command) {
  po::options_description flags;
  const auto add = [&](const std::string& name) { flags.add_options()(name.c_str(), po::value<std::string>()); };
  const auto add_switch = [&](const std::string& name) {
    flags.add_options()(name.c_str(), po::value<std::string>()->implicit_value("true"));
  };
  if (command.takes_json) flags.add_options()("json", "");
  if (command.takes_retry) flags.add_options()("retry", "");
  if (command.takes_budget) add("budget");
  for (const char* name : command.own_flags) add(name);
  for (const char* name : command.own_switches) flags.add_options()(name, "");
  if (command.takes_target) {
    add("to");
    add("dtype");
  }
  if (!command.takes_settings) return flags;
  add("config,c");
  for (const char* tolerated : {"local-rank", "local_rank"})
    add(tolerated);  // some launchers pass it; the environment says more
  for (const KeyTable& table : host_keys()) {
    for (const esp_option* option : table.keys) {
      const auto add_key = [&](const std::string& name) {
        option->type == ESP_OPT_BOOL ? add_switch(name) : add(name);
      };
      add_key(table.name + "." + option->key);
      if (table.name == "run") add_key(option->key);
    }
  }
  return flags;
}

bool is_run_key(const std::string& name) {
  for (const esp_option* option : host_keys().front().keys) {
    if (name == option->key) return true;
  }
  return false;
}

// `--nproc --plugin=x`: the parser would take the second for the value of the first.
bool looks_like_flag(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && std::isdigit(static_cast<unsigned char>(word[1])) == 0 && word[1] != '.';
}

std::string unknown_flag_text(const CommandInfo& command, const std::string& flag) {
  std::string text = printable(flag) + " is no flag of host " + command.name;
  std::string name = flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
  std::replace(name.begin(), name.end(), '-', '_');
  std::map<std::string, std::string> spelled;  // what a user may type, and what is meant
  const po::options_description flags = known_flags(command);
  for (const auto& known : flags.options()) {
    const std::string full = known->long_name();
    const std::string last = full.substr(full.rfind('.') + 1);
    spelled.try_emplace(last, full);
    spelled[full] = full;
  }
  std::vector<std::string> names;
  for (const auto& [typed, meant] : spelled) names.push_back(typed);
  const std::string near = nearest_name(name, names);
  return near.empty() ? text + "; see host help " + command.name : text + "; did you mean --" + spelled[near] + "?";
}

// Fills a CommandLine from parsed options, one at a time.
class Collector {
 public:
  Collector(const CommandInfo& command, CommandLine& line)
      : command_(command), line_(line), working_folder_(std::filesystem::current_path().string()) {}

  void add(const po::option& option) {
    if (option.position_key >= 0) {
      line_.names.insert(line_.names.end(), option.value.begin(), option.value.end());
      return;
    }
    const std::string typed = option.original_tokens.front().substr(0, option.original_tokens.front().find('='));
    const bool has_table = option.string_key.find('.') != std::string::npos;
    if (option.unregistered && !(has_table && command_.takes_settings && typed.starts_with("--"))) {
      fail(unknown_flag_text(command_, typed));
    }
    const bool is_key = has_table || (command_.takes_settings && is_run_key(option.string_key));
    const std::string key = has_table || !is_key ? option.string_key : "run." + option.string_key;
    const std::string value = option.value.empty() ? "true" : option.value.front();
    if (option.original_tokens.size() > 1 && looks_like_flag(value)) fail(typed + " has no value");
    const auto [earlier, is_new] = seen_.try_emplace(key, value);
    if (!is_new) fail(typed + " is given twice: " + printable(earlier->second) + " and " + printable(value));
    if (is_key) {
      flags_[key] = {value, true, {typed, working_folder_}};
    } else {
      set(key, value, typed);
    }
  }

  const Settings& flags() const { return flags_; }

 private:
  void set(const std::string& key, const std::string& value, const std::string& typed) {
    for (const auto& own : {command_.own_flags, command_.own_switches}) {
      if (std::find(own.begin(), own.end(), key) != own.end()) line_.own_flags[key] = value;
    }
    if (key == "config") line_.config_file = value;
    if (key == "to") line_.to = value;
    if (key == "dtype") line_.dtype = one_of(typed, value, {"fp32", "bf16", "fp16"});
    if (key == "json") line_.json = true;
    if (key == "retry") line_.retry = true;
    if (key == "budget") line_.budget = size_of(typed, value);
  }

  static uint64_t size_of(const std::string& typed, const std::string& value) {
    const std::optional<uint64_t> bytes = parse_bytes(value);
    if (!bytes || *bytes == 0) fail(typed + "=" + printable(value) + " is no size like 4096 or 25MiB");
    return *bytes;
  }

  static std::string one_of(const std::string& typed, const std::string& value, const std::vector<std::string>& valid) {
    if (std::find(valid.begin(), valid.end(), value) != valid.end()) return value;
    std::string all;
    for (const std::string& name : valid) all += (all.empty() ? "" : ", ") + name;
    fail(typed + "=" + printable(value) + " is not one of " + all);
  }

  const CommandInfo& command_;
  CommandLine& line_;
  std::string working_folder_;
  std::map<std::string, std::string> seen_;
  Settings flags_;
};

void check_names(const CommandInfo& command, const CommandLine& line) {
  if (line.names.size() < command.min_names) {
    fail(std::string("host ") + command.name + " " + command.usage + ": a name is missing");
  }
  if (line.names.size() <= command.max_names) return;
  const std::string& extra = line.names[command.max_names];
  const std::string text = quoted(extra) + " is unexpected";
  if (command.takes_settings && extra.ends_with(".toml")) fail(text + "; did you mean -c " + extra + "?");
  if (extra.find('=') != std::string::npos) fail(text + "; flags begin with --");
  fail(text + (command.takes_settings ? "; values are written --table.key=value" : ""));
}

void parse_flags(const CommandInfo& command, const std::vector<std::string>& arguments, CommandLine& line) {
  namespace style = po::command_line_style;
  const po::options_description known = known_flags(command);
  Collector collector(command, line);
  try {
    const po::parsed_options parsed = po::command_line_parser(arguments)
                                          .options(known)
                                          .style(style::unix_style & ~style::allow_guessing)
                                          .allow_unregistered()
                                          .run();
    for (const po::option& option : parsed.options) collector.add(option);
  } catch (const po::invalid_command_line_syntax& error) {
    if (error.kind() == po::invalid_syntax::empty_adjacent_parameter ||
        error.kind() == po::invalid_syntax::missing_parameter) {
      fail(printable(error.get_option_name()) + " has no value");
    }
    fail(printable(error.what()));
  } catch (const po::error& error) {
    fail(printable(error.what()));
  }
  check_names(command, line);
  if (!line.config_file.empty()) line.settings = read_settings_file(line.config_file);
  merge(line.settings, collector.flags());
}

[[noreturn]] void fail_unknown_command(const std::string& name) {
  std::vector<std::string> names{"help"};
  for (const CommandInfo& command : command_infos()) names.emplace_back(command.name);
  const std::string near = nearest_name(name, names);
  fail("there is no command " + quoted(name) + "; " +
       (near.empty() ? "see host help" : "did you mean host " + near + "?"));
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments) {
  CommandLine line;
  line.arguments = arguments;
  if (arguments.empty()) return line;
  std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  line.command = arguments.front();
  if (line.command == "plugins" && !rest.empty() && !rest.front().starts_with("-")) {
    line.command += " " + rest.front();
    rest.erase(rest.begin());
  }
  const auto is_help = [](const std::string& word) { return word == "--help" || word == "-h"; };
  if (line.command == "help" || is_help(line.command)) {
    line.command = "help";
    for (const std::string& word : rest) line.names.push_back(word);
    return line;
  }
  if (line.command == "--version" || line.command == "version") {
    line.command = "version";
    return line;
  }
  if (std::any_of(rest.begin(), rest.end(), is_help)) {
    line.names = {line.command};
    line.command = "help";
    return line;
  }
  if (line.command.starts_with("-"))
    fail("a command comes first: host run " + printable(line.command) + " ...; see host help");
  if (line.command == "plugins")
    fail("host plugins wants list, inspect, new, schema, example or reference; see host help plugins");
  const CommandInfo* command = find_command(line.command);
  if (command == nullptr) fail_unknown_command(line.command);
  parse_flags(*command, rest, line);
  return line;
}

}  // namespace esp::cli
