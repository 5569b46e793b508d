#include "verify/hook_cost.hpp"

#include <algorithm>
#include <sstream>
#include <vector>

#include "verify/test_case.hpp"
#include "verify/world.hpp"

namespace esp::verify {
namespace {

constexpr int kSteps = 64;
constexpr double kMostNs = 1e5;  // a hundred times what the checks alone may take: no busy machine explains it

}  // namespace

double hook_cost_ns(const ModuleComponent& component, const OptionSet& options, Findings& findings) {
  Scenario scenario;
  scenario.n_micro = 2;
  scenario.compare = false;
  World world(component, options, scenario, findings);
  bool fine = world.start() && world.fill();
  if (!world.refusal.empty()) throw Skip{"refused: " + world.refusal};
  std::vector<double> steps;
  for (int i = 0; fine && i < kSteps; ++i) {
    const HookCost before = world.hook_cost();
    fine = world.step();
    HookCost of_step = world.hook_cost();
    of_step.calls -= before.calls;
    of_step.spent -= before.spent;
    steps.push_back(of_step.ns_each());
  }
  world.finish();
  if (steps.empty()) return 0;
  const auto middle = steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2);
  std::nth_element(steps.begin(), middle, steps.end());
  return *middle;
}

void check_hook_cost(const ModuleComponent& component, const OptionSet& options, Findings& findings) {
  const double ns = hook_cost_ns(component, options, findings);
  std::ostringstream text;
  text.precision(2);
  text << std::fixed << ns / 1000 << " us a hook";
  findings.note(text.str() + " of the host's time, all checks included");
  if (ns > kMostNs) findings.add("COST-01", text.str() + "; a few are usual", {"the hooks of a step"});
}

}  // namespace esp::verify
