// host verify: hold a plugin to the rules of the contract.
#include "verify/verify.hpp"

#include <charconv>
#include <fstream>

#include "cli/commands.hpp"
#include "config/resolve.hpp"
#include "error.hpp"

namespace esp::cli {
namespace {

constexpr int kBroken = 1;

uint64_t number_of(const CommandLine& line, const std::string& key, uint64_t otherwise, uint64_t least, uint64_t most) {
  const auto given = line.own_flags.find(key);
  if (given == line.own_flags.end()) return otherwise;
  const std::string& text = given->second;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    throw Error(ExitCode::kUsage, "--" + key + "=" + text + " is no integer from " + std::to_string(least) + " to " +
                                      std::to_string(most));
  }
  return value;
}

std::string text_of(const CommandLine& line, const std::string& key) {
  const auto given = line.own_flags.find(key);
  return given == line.own_flags.end() ? "" : given->second;
}

verify::VerifyOptions options_of(const CommandLine& line) {
  verify::VerifyOptions options;
  std::tie(options.plugin, options.component) = split_plugin_name(text_of(line, "plugin"));
  if (options.plugin.empty()) throw Error(ExitCode::kUsage, "host verify wants --plugin=LIBRARY");
  options.only = text_of(line, "only");
  options.seed = number_of(line, "seed", 42, 0, UINT64_MAX);
  options.max_world = static_cast<int>(number_of(line, "world", 3, 1, 16));
  options.limit_s = static_cast<unsigned>(number_of(line, "timeout", 20, 1, 3600));
  const std::string numerics = text_of(line, "numerics");
  if (!numerics.empty() && numerics != "own") {
    throw Error(ExitCode::kUsage, "--numerics=" + numerics + " is not own");
  }
  options.own_numerics = numerics == "own";
  return options;
}

}  // namespace

int verify(const CommandLine& line, std::ostream& out) {
  const verify::Report report = verify::verify(options_of(line));
  if (const std::string path = text_of(line, "junit"); !path.empty()) {
    std::ofstream file(path);
    file << verify::to_junit(report);
    file.close();
    if (!file) throw Error(ExitCode::kResource, path + ": cannot be written");
  }
  if (line.json) {
    out << verify::to_json(report) << '\n';
  } else {
    verify::print_text(report, out);
  }
  return report.count(verify::Verdict::kFailed) == 0 ? static_cast<int>(ExitCode::kOk) : kBroken;
}

}  // namespace esp::cli
