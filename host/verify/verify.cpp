#include "verify/verify.hpp"

#include <algorithm>
#include <cstdlib>

#include "error.hpp"
#include "verify/settings.hpp"

namespace esp::verify {
namespace {

constexpr int kMostTimeouts = 3;  // then the rest is not worth the wait

bool is_asked_for(const TestCase& test, const std::string& only) {
  return only.empty() || test.group == only || test.group + "/" + test.name == only;
}

}  // namespace

size_t Report::count(Verdict verdict) const {
  return static_cast<size_t>(std::count_if(results.begin(), results.end(),
                                           [&](const TestResult& result) { return result.verdict == verdict; }));
}

Report verify(const VerifyOptions& options) {
  // Tests are many and small: threads of a model's library would only wait for each other. Read when that is loaded.
  setenv("OMP_NUM_THREADS", "1", /*overwrite=*/0);
  const Module& module = load_module(options.plugin, Probe::kChild);
  Report report{module.path.filename().string(), module.version, options, {}};
  check_keys(module.components, options.values);
  std::vector<TestCase> tests = library_tests(module);
  for (const ModuleComponent* component : module.components) {
    if (!options.component.empty() && options.component != component->component.id) continue;
    std::vector<TestCase> more;
    switch (component->component.kind) {
      case ESP_STRATEGY:
        more = strategy_tests(module, *component, options);
        break;
      case ESP_DATASET:
        more = dataset_tests(*component, options);
        break;
      default:
        more = model_tests(*component, options);
    }
    tests.insert(tests.end(), more.begin(), more.end());
  }
  int timeouts = 0;
  for (const TestCase& test : tests) {
    if (!is_asked_for(test, options.only)) continue;
    if (options.in_process) {
      report.results.push_back(run_test_in_process(test));
    } else if (timeouts < kMostTimeouts) {
      report.results.push_back(run_test(test, options.limit_s * test.patience));
    } else {
      report.results.push_back(
          {test.group, test.name, Verdict::kSkipped, "earlier tests did not come back", {}, 0, {}});
    }
    for (const Finding& finding : report.results.back().findings) timeouts += finding.rule == "LIFE-06" ? 1 : 0;
  }
  if (report.results.empty()) {
    throw Error(ExitCode::kUsage, "--only=" + options.only + " names neither a group nor a test of " + report.library);
  }
  return report;
}

}  // namespace esp::verify
