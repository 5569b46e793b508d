// The commands of `host`. Each returns the exit code, or throws esp::Error.
#pragma once

#include <ostream>
#include <string>

#include "cli/command_line.hpp"

namespace esp::cli {

int run(const CommandLine& line);
int eval(const CommandLine& line);
int plan(const CommandLine& line, std::ostream& out);
int bench(const CommandLine& line, std::ostream& out);
int compare(const CommandLine& line, std::ostream& out);  // 1: the second is slower beyond noise
int report(const CommandLine& line, std::ostream& out);
int export_model(const CommandLine& line);
int plugins_list(std::ostream& out, bool json);
int plugins_inspect(const std::string& name, bool json, std::ostream& out);
// kind: strategy, model, dataset. folder: empty = the name. Refuses a folder that is not empty.
int plugins_new(const std::string& kind, const std::string& name, const std::string& folder, std::ostream& out);
int plugins_schema(const std::string& library, std::ostream& out);     // JSON Schema of a run's TOML
int plugins_example(const std::string& library, std::ostream& out);    // a starting TOML
int plugins_reference(const std::string& library, std::ostream& out);  // a page in Markdown
int verify(const CommandLine& line, std::ostream& out);                // 1: a test failed
int doctor(std::ostream& out, bool json);

// Topic: empty (all commands), a command, or "configuration" (docs/configuration.md). Throws Error(kUsage).
int help(const std::string& topic, std::ostream& out);

}  // namespace esp::cli
