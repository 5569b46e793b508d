#include "verify/strategy_tests.hpp"

#include "verify/settings.hpp"

namespace esp::verify {

Scenario StrategySubject::scenario() const {
  Scenario scenario;
  scenario.seed = options.seed;
  scenario.compare = !options.own_numerics;
  return scenario;
}

OptionSet StrategySubject::defaults() const { return option_values(*component, options.values); }

void train(const StrategySubject& subject, Scenario scenario, Findings& findings) {
  scenario.compare = scenario.compare && !subject.options.own_numerics;
  const OptionSet options = subject.defaults();
  World world(*subject.component, options, scenario, findings);
  world.train();
  if (!world.refusal.empty()) throw Skip{"refused: " + world.refusal};
}

std::string no_capability(const StrategySubject& subject, uint64_t bit, const char* name) {
  return (subject.component->component.caps & bit) != 0 ? "" : std::string("the component does not declare ") + name;
}

void StrategyTests::add_training(const std::string& group, const std::string& name, const Scenario& scenario,
                                 std::string skip) {
  add(
      group, name, [subject = subject_, scenario](Findings& findings) { train(subject, scenario, findings); },
      std::move(skip));
}

}  // namespace esp::verify
