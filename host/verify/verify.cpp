#include "verify/verify.hpp"

#include <algorithm>

#include "error.hpp"

namespace esp::verify {
namespace {

bool is_asked_for(const TestCase& test, const std::string& only) {
  return only.empty() || test.group == only || test.group + "/" + test.name == only;
}

const char* no_tests(uint32_t kind) {
  return kind == ESP_MODEL ? "models are run by the tests of their own project so far"
                           : "datasets are run by the tests of their own project so far";
}

}  // namespace

size_t Report::count(Verdict verdict) const {
  return static_cast<size_t>(std::count_if(results.begin(), results.end(),
                                           [&](const TestResult& result) { return result.verdict == verdict; }));
}

Report verify(const VerifyOptions& options) {
  const Module& module = load_module(options.plugin, Probe::kChild);
  Report report{module.path.filename().string(), module.version, options, {}};
  std::vector<TestCase> tests = library_tests(module);
  for (const ModuleComponent* component : module.components) {
    if (!options.component.empty() && options.component != component->component.id) continue;
    std::vector<TestCase> more;
    if (component->component.kind == ESP_STRATEGY) {
      more = strategy_tests(module, *component, options);
    } else {
      const char* group = component->component.kind == ESP_MODEL ? "models" : "datasets";
      more.push_back({group, component->component.id, {}, no_tests(component->component.kind)});
    }
    tests.insert(tests.end(), more.begin(), more.end());
  }
  for (const TestCase& test : tests) {
    if (is_asked_for(test, options.only)) report.results.push_back(run_test(test, options.limit_s));
  }
  if (report.results.empty()) {
    throw Error(ExitCode::kUsage, "--only=" + options.only + " names neither a group nor a test of " + report.library);
  }
  return report;
}

}  // namespace esp::verify
