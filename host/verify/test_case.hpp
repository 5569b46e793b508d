// One test: what it does, and how it ended.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "modules/module.hpp"
#include "verify/finding.hpp"

namespace esp::verify {

// What the user asked for.
struct VerifyOptions {
  std::string plugin;                         // path or name, without a component
  std::string component;                      // id, or empty
  std::string only;                           // a group or a test; empty = all
  std::map<std::string, std::string> values;  // of the component's options; the others have their defaults
  uint64_t seed = 42;
  int max_world = kUsualWorld;
  bool own_numerics = false;       // not synchronous by design: no comparison with the oracle
  bool local_updates = false;      // found out: each rank updates with its own gradients
  unsigned limit_s = kUsualLimit;  // of one test, in seconds
  bool in_process = false;         // no process of its own, no time limit: for debuggers

  static constexpr int kUsualWorld = 3;
  static constexpr unsigned kUsualLimit = 20;
};

// Thrown in a test that finds that it does not apply.
struct Skip {
  std::string reason;
};

struct TestCase {
  std::string group, name;
  std::function<void(Findings&)> run;  // in a process of its own
  std::string skip;                    // why it does not apply; empty: run it
  unsigned patience = 1;               // times the limit
};

enum class Verdict { kPassed, kFailed, kSkipped };

struct TestResult {
  std::string group, name;
  Verdict verdict = Verdict::kPassed;
  std::string reason;  // of a skip
  std::vector<Finding> findings;
  double seconds = 0;
  std::vector<std::string> notes;  // what it has measured
};

// All tests that apply to a component, in the order of the groups.
std::vector<TestCase> strategy_tests(const Module& module, const ModuleComponent& component,
                                     const VerifyOptions& options);
std::vector<TestCase> model_tests(const ModuleComponent& component, const VerifyOptions& options);
std::vector<TestCase> dataset_tests(const ModuleComponent& component, const VerifyOptions& options);
std::vector<TestCase> library_tests(const Module& module);

// Runs a test in a child process; what kills or stops it is a finding of its own (LIFE-05, LIFE-06, MEM-01).
TestResult run_test(const TestCase& test, unsigned limit_s);
// Runs it here and now.
TestResult run_test_in_process(const TestCase& test);

}  // namespace esp::verify
