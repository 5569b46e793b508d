// A strategy that is put through tests, and the list of them.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "verify/test_case.hpp"
#include "verify/world.hpp"

namespace esp::verify {

struct StrategySubject {
  const ModuleComponent* component;
  VerifyOptions options;

  Scenario scenario() const;
  OptionSet defaults() const;
};

// Trains once; a refusal in create or plan ends the test as skipped.
void train(const StrategySubject& subject, Scenario scenario, Findings& findings);

// Why a test does not apply: empty where the component declares the capability.
std::string no_capability(const StrategySubject& subject, uint64_t bit, const char* name);

class StrategyTests {
 public:
  StrategyTests(const StrategySubject& subject, std::vector<TestCase>& into) : subject_(subject), into_(into) {}

  void add(const std::string& group, const std::string& name, std::function<void(Findings&)> run,
           std::string skip = "") {
    into_.push_back({group, name, std::move(run), std::move(skip)});
  }
  void add_training(const std::string& group, const std::string& name, const Scenario& scenario, std::string skip = "");

 private:
  const StrategySubject& subject_;
  std::vector<TestCase>& into_;
};

// Groups state and adapt: what is saved, loaded and moved.
void add_state(const StrategySubject& subject, StrategyTests& tests);
void add_adapt(const StrategySubject& subject, StrategyTests& tests);

}  // namespace esp::verify
