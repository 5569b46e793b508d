// host verify: hold a plugin to the rules of the contract.
#include "verify/verify.hpp"

#include <charconv>
#include <fstream>

#include "cli/commands.hpp"
#include "config/resolve.hpp"
#include "error.hpp"
#include "verify/settings.hpp"

namespace esp::cli {
namespace {

constexpr int kBroken = 1;

bool read_number(std::string_view text, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

uint64_t number_of(const CommandLine& line, const std::string& key, uint64_t otherwise, uint64_t least, uint64_t most) {
  const auto given = line.own_flags.find(key);
  if (given == line.own_flags.end()) return otherwise;
  uint64_t value = 0;
  if (!read_number(given->second, value) || value < least || value > most) {
    throw Error(ExitCode::kUsage, "--" + key + "=" + given->second + " is no integer from " + std::to_string(least) +
                                      " to " + std::to_string(most));
  }
  return value;
}

std::string text_of(const CommandLine& line, const std::string& key) {
  const auto given = line.own_flags.find(key);
  return given == line.own_flags.end() ? "" : given->second;
}

// "GROUP/NAME@SEED": one test as a report named it.
void read_repro(const CommandLine& line, const std::string& text, verify::VerifyOptions& options) {
  const size_t at = text.rfind('@');
  if (at == std::string::npos || !read_number(std::string_view(text).substr(at + 1), options.seed)) {
    throw Error(ExitCode::kUsage, "--repro=" + text + " is not GROUP/NAME@SEED, as a report ends with it");
  }
  if (line.own_flags.count("only") + line.own_flags.count("seed") > 0) {
    throw Error(ExitCode::kUsage, "--repro names the test and the seed: --only and --seed say something else");
  }
  options.only = text.substr(0, at);
}

verify::VerifyOptions options_of(const CommandLine& line) {
  verify::VerifyOptions options;
  std::tie(options.plugin, options.component) = split_plugin_name(text_of(line, "plugin"));
  if (options.plugin.empty()) throw Error(ExitCode::kUsage, "host verify wants --plugin=LIBRARY");
  options.only = text_of(line, "only");
  options.seed = number_of(line, "seed", options.seed, 0, UINT64_MAX);
  if (const std::string repro = text_of(line, "repro"); !repro.empty()) read_repro(line, repro, options);
  options.in_process = text_of(line, "in-process") == "true";
  options.values = verify::parse_values(text_of(line, "with"));
  options.max_world = static_cast<int>(number_of(line, "world", options.max_world, 1, 16));
  options.limit_s = static_cast<unsigned>(number_of(line, "timeout", options.limit_s, 1, 3600));
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
