#include "golden_case.hpp"

#include <cmath>
#include <stdexcept>

#include "support/scratch.hpp"

namespace esp::test {
namespace {

GoldenCase read_case(const nlohmann::json& golden) {
  GoldenCase result;
  result.name = golden.at("name");
  result.checkpoint = golden.at("checkpoint");
  result.settings = golden.at("settings");
  result.steps = read_steps(golden.at("steps"));
  for (const auto& entry : golden.at("evaluations")) {
    result.evaluations.push_back({entry.at("epoch"), entry.at("loss"), entry.at("correct"), entry.at("samples")});
  }
  return result;
}

}  // namespace

std::string parity_data(const std::string& name) { return std::string(ESPALIER_TESTS) + "/parity/data/" + name; }

const nlohmann::json& goldens() {
  static const nlohmann::json content = nlohmann::json::parse(read_file(parity_data("goldens.json")));
  return content;
}

const std::vector<GoldenCase>& golden_cases() {
  static const std::vector<GoldenCase> cases = [] {
    std::vector<GoldenCase> list;
    for (const auto& golden : goldens().at("cases")) list.push_back(read_case(golden));
    return list;
  }();
  return cases;
}

const GoldenCase& golden_case(const std::string& name) {
  for (const GoldenCase& one : golden_cases()) {
    if (one.name == name) return one;
  }
  throw std::runtime_error("no golden case " + name);
}

std::vector<GoldenStep> read_steps(const nlohmann::json& list) {
  std::vector<GoldenStep> steps;
  for (const auto& entry : list) {
    steps.push_back({entry.at("step"), entry.at("loss"), entry.at("lr"), entry.at("grad_norm"), entry.at("samples")});
  }
  return steps;
}

HostRun train(const std::string& folder, const std::string& checkpoint, const nlohmann::json& settings, int nproc,
              const nlohmann::json& more) {
  nlohmann::json all = {{"run.plugin", "libddp.so"},
                        {"run.nproc", nproc},
                        {"run.threads", 1},
                        {"run.device", "cpu"},
                        {"run.timeout", 60},
                        {"run.out", folder},
                        {"model.weights", parity_data(checkpoint)},
                        {"data.path", parity_data("images")},
                        {"data.shuffle", false},
                        {"data.augment", "none"},
                        {"train.precision", "fp32"}};
  all.update(settings);
  all.update(more);
  std::string toml;  // JSON's numbers, texts, truth values and lists are TOML's
  for (const auto& [key, value] : all.items()) toml += key + " = " + value.dump() + "\n";
  const Scratch scratch;
  HostRun run;
  run.outcome = run_host({"run", "-c", scratch.write("case.toml", toml)}, 80);
  if (run.outcome.exit_code == 0) run.folder = read_run(folder);
  return run;
}

double relative_gap(double value, double expected) {
  return std::abs(value - expected) / std::max(std::abs(expected), 1e-12);
}

}  // namespace esp::test
